"""Small models of `transformers`, from configurations of its own with random weights: nothing is downloaded."""

from __future__ import annotations

from typing import Any

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}
VIT |= {"patch_size": 8}
DEEP = VIT | {"num_hidden_layers": 4}
TEXT = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXT |= {"max_position_embeddings": 64}
SWIN = {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 64}
FOUR = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
HEADS = FOUR | {"num_attention_heads": [1, 1, 2, 2]}
LAST = {"out_features": ["stage2", "stage3", "stage4"]}
RESNET = {"model_type": "resnet", "embedding_size": 8, **FOUR, **LAST}
RT_RESNET = RESNET | {"model_type": "rt_detr_resnet", "layer_type": "basic"}
DINO = DEEP | {"model_type": "dinov2", "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False}
SMALL_SWIN = {"model_type": "swin", "embed_dim": 16, "depths": [1] * 4, "num_heads": [1, 2, 2, 4], "window_size": 4}
SMALL_SWIN |= {"image_size": 64, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
QUERIES = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
QUERIES |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 5}
DETR = QUERIES | {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
DETR |= {"backbone_config": RESNET}
NECK = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16}
DPT = DEEP | NECK | {"image_size": 64, "backbone_out_indices": [0, 1, 2, 3], "is_hybrid": False}
MOBILEVIT = {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 32], "num_attention_heads": 2}
MOBILEVIT |= {"image_size": 64}
MOBILENET = {"depth_multiplier": 0.25, "image_size": 64}
HGNET = {"stem_channels": [3, 8, 16], "stage_in_channels": [16, 16, 32, 32], "stage_mid_channels": [8] * 4}
HGNET |= {"stage_out_channels": [16, 32, 32, 64], "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [2] * 4}
HGNET |= {"hidden_sizes": [16, 32, 32, 64], "depths": [1] * 4, "embedding_size": 16}
WAVE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 20}
WAVE |= {"conv_dim": [16] * 3, "conv_kernel": [10, 3, 3], "conv_stride": [5, 2, 2], "num_feat_extract_layers": 3}
WAVE |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
BOTH = {"text_config": TEXT, "vision_config": VIT}
CODEC = {"hidden_size": 16, "codebook_size": 16, "codebook_dim": 16, "num_filters": 4, "upsampling_ratios": [4, 2]}
HIFI = {"model_in_dim": 8, "upsample_initial_channel": 16, "upsample_rates": [2, 2], "upsample_kernel_sizes": [4, 4]}
HIFI |= {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
LLAVA = {"text_config": TEXT | {"model_type": "llama", "num_key_value_heads": 2}, "vision_feature_layer": -1}
LLAVA |= {"vision_config": VIT | {"model_type": "clip_vision_model"}, "image_token_index": 98, "image_token_id": 98}
MASKS = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 32}
MASKS |= {"dim_feedforward": 32, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "num_queries": 5}
UPER = {"backbone_config": RESNET | {"out_features": ["stage1", "stage2", "stage3", "stage4"]}, "hidden_size": 16}
UPER |= {"auxiliary_channels": 8, "auxiliary_in_channels": 24, "pool_scales": [1, 2]}
ENCODED = {"encoder_in_channels": [16, 24, 32], "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32]}
GROUPS = {"hidden_size": 32, "depths": [1] * 3, "num_hidden_layers": 3, "num_group_tokens": [4, 2, 0]}
GROUPS |= {"num_output_groups": [4, 2, 0], "num_attention_heads": 2, "intermediate_size": 64}
POSE = {"model_type": "vitpose_backbone", "image_size": [64, 32], "patch_size": [16, 16], "hidden_size": 32}
POSE |= {"num_hidden_layers": 2, "num_attention_heads": 2, "out_features": ["stage2"]}
TEXTNET = {"stem_out_channels": 8, "conv_layer_strides": [[1, 2], [2], [2], [2]], "hidden_sizes": [8, 8, 16, 16, 24]}
TEXTNET |= {"conv_layer_kernel_sizes": [[[3, 3], [3, 3]], [[3, 3]], [[3, 3]], [[3, 3]]]}
SPEECH = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "num_mel_bins": 16}
SPEECH |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_source_positions": 30}
CLAP = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "spec_size": 64}
CLAP |= {"num_mel_bins": 16, "window_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "patch_size": 4}
SAM = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
SAM |= {"output_channels": 16, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 64}
LEVIT = {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2], "depths": [1] * 3}

PIXELS, TOKENS = {"pixel_values": (1, 3, 32, 32)}, {"input_ids": (7,)}
LARGE = {"pixel_values": (1, 3, 64, 64)}
SOUND = {"input_values": (1, 800)}
# class: settings, inputs by name: a shape, for token ids their number
MODELS: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "ResNetForImageClassification": (RESNET | {"layer_type": "basic"}, LARGE),
    "ViTForImageClassification": (VIT, PIXELS),
    "DeiTModel": (VIT, PIXELS),
    "BeitModel": (VIT | {"use_relative_position_bias": True}, PIXELS),
    "Data2VecVisionModel": (VIT | {"use_relative_position_bias": True}, PIXELS),
    "Dinov2WithRegistersModel": (VIT, PIXELS),
    "DINOv3ViTModel": (VIT, PIXELS),
    "DINOv3ConvNextModel": (FOUR, LARGE),
    "VitDetModel": (VIT | {"window_block_indices": [0], "window_size": 2}, PIXELS),
    "ViTMAEModel": (VIT | {"mask_ratio": 0.0}, PIXELS),
    "SwinForImageClassification": (SWIN, LARGE),
    "Swinv2Model": (SWIN, LARGE),
    "HieraModel": ({"embed_dim": 16, "image_size": [64, 64], "depths": [1] * 4, "num_heads": [1, 1, 2, 2]}, LARGE),
    "LevitForImageClassification": (LEVIT | {"key_dim": [8] * 3}, LARGE),
    "PvtModel": (HEADS | {"image_size": 64, "sequence_reduction_ratios": [4, 2, 1, 1]}, LARGE),
    "PvtV2Model": (HEADS | {"image_size": 64}, LARGE),
    "PoolFormerModel": (FOUR, LARGE),
    "FocalNetModel": ({"embed_dim": 16, "hidden_sizes": [16, 32, 64, 64], "depths": [1] * 4, "image_size": 64}, LARGE),
    "SwiftFormerModel": ({"embed_dims": [8, 16, 24, 32], "depths": [1] * 4, "image_size": 64}, LARGE),
    "MobileViTModel": (MOBILEVIT, LARGE),
    "MobileViTV2Model": ({"width_multiplier": 0.25, "image_size": 64}, LARGE),
    "MobileNetV1Model": (MOBILENET, LARGE),
    "MobileNetV2Model": (MOBILENET, LARGE),
    "EfficientNetModel": ({"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320}, LARGE),
    "RegNetModel": ({"embedding_size": 8, "groups_width": 4, **FOUR}, LARGE),
    "BitModel": ({"embedding_size": 8, "hidden_sizes": [16, 32, 32, 64], "depths": [1] * 4, "num_groups": 4}, LARGE),
    "ConvNextModel": (FOUR, LARGE),
    "ConvNextV2Model": (FOUR, LARGE),
    "HGNetV2Backbone": (HGNET, LARGE),
    "PPLCNetForImageClassification": ({}, LARGE),
    "TextNetModel": (TEXTNET, LARGE),
    "CLIPVisionModel": (VIT, PIXELS),
    "SiglipVisionModel": (VIT, PIXELS),
    "Aimv2VisionModel": (VIT, PIXELS),
    "PixtralVisionModel": (VIT, PIXELS),
    "GroupViTVisionModel": (GROUPS | {"image_size": 32, "patch_size": 8}, PIXELS),
    "SamVisionModel": (SAM, LARGE),
    "SegformerForSemanticSegmentation": (HEADS | {"decoder_hidden_size": 16}, LARGE),
    "MobileNetV2ForSemanticSegmentation": (MOBILENET, LARGE),
    "MobileViTForSemanticSegmentation": (MOBILEVIT | {"aspp_out_channels": 16}, LARGE),
    "UperNetForSemanticSegmentation": (UPER, LARGE),
    "DPTForSemanticSegmentation": (DPT, LARGE),
    "DPTForDepthEstimation": (DPT, LARGE),
    "GLPNForDepthEstimation": (HEADS | {"decoder_hidden_size": 16}, LARGE),
    "ZoeDepthForDepthEstimation": (
        NECK | {"backbone_config": DINO, "backbone_hidden_size": 32, "bottleneck_features": 16},
        PIXELS,
    ),
    "DetrForObjectDetection": (DETR, LARGE),
    "ConditionalDetrForObjectDetection": (DETR, LARGE),
    "RTDetrForObjectDetection": (QUERIES | ENCODED | {"backbone_config": RT_RESNET, "anchor_image_size": None}, LARGE),
    "YolosForObjectDetection": (VIT | {"image_size": [32, 32], "num_detection_tokens": 5}, PIXELS),
    "MaskFormerForInstanceSegmentation": (
        {"backbone_config": SMALL_SWIN, "decoder_config": DETR | {"model_type": "detr"}, "mask_feature_size": 16},
        LARGE,
    ),
    "Mask2FormerForUniversalSegmentation": (MASKS | {"backbone_config": SMALL_SWIN}, LARGE),
    "EomtForUniversalSegmentation": (VIT | {"num_blocks": 1, "num_queries": 4, "num_upscale_blocks": 1}, PIXELS),
    "VitPoseForPoseEstimation": ({"backbone_config": POSE, "num_labels": 5}, {"pixel_values": (1, 3, 64, 32)}),
    "Swin2SRForImageSuperResolution": (
        {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 16},
        {"pixel_values": (1, 3, 16, 16)},
    ),
    "TimesformerModel": (VIT | {"num_frames": 2}, {"pixel_values": (1, 2, 3, 32, 32)}),
    "VideoMAEModel": (VIT | {"num_frames": 4}, {"pixel_values": (1, 4, 3, 32, 32)}),
    "ASTModel": (VIT | {"max_length": 64, "num_mel_bins": 32}, {"input_values": (1, 64, 32)}),
    "Wav2Vec2ForCTC": (WAVE, SOUND),
    "WavLMModel": (WAVE, SOUND),
    "Data2VecAudioModel": (WAVE, SOUND),
    "Wav2Vec2ConformerModel": (WAVE, SOUND),
    "WhisperForAudioClassification": (SPEECH | {"classifier_proj_size": 8}, {"input_features": (1, 16, 60)}),
    "EncodecModel": (CODEC | {"num_lstm_layers": 1, "target_bandwidths": [24.0]}, {"input_values": (1, 1, 320)}),
    "SpeechT5HifiGan": (HIFI, {"spectrogram": (1, 20, 8)}),
    "ClapAudioModel": (CLAP | {"patch_stride": [4, 4]}, {"input_features": (1, 1, 64, 16)}),
    "CLIPModel": (BOTH | {"projection_dim": 16}, PIXELS | TOKENS),
    "SiglipModel": (BOTH, PIXELS | TOKENS),
    "BlipForConditionalGeneration": (BOTH, PIXELS | TOKENS),
    "OwlViTForObjectDetection": (BOTH | {"projection_dim": 32}, PIXELS | TOKENS),
    "ViltModel": (VIT | {"vocab_size": 99, "max_image_length": -1}, PIXELS | TOKENS),
    "LlavaForConditionalGeneration": (LLAVA, PIXELS | {"input_ids": (19,)}),
}

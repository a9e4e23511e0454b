"""What ATen's operators do, in the words of networks: one table of every operator that is understood.

A builder takes one call and gives the node that it becomes: which elements it reads, what it multiplies.
`call` holds a call and such a node; `windows` has what slides over axes, `rearranging` what only moves elements,
`indexing` what is chosen or written at places that numbers say, `reductions` what reads all along an axis, `spectral`
convolutions by Fourier transforms. A new operator is a name in this table, or a builder and a name.
Internal; the tracer uses `TABLE` and `COUNTED`.
"""

from __future__ import annotations

from collections.abc import Callable

from . import indexing, rearranging, reductions, windows
from .call import Draft, Drafts, OperatorCall

__all__: list[str] = []
Builder = Callable[[OperatorCall], Draft | Drafts]

GROUPS: dict[Builder, str] = {
    windows.convolution: "convolution _convolution convolution_overrideable",
    windows.pooling: "max_pool#d max_pool#d_with_indices avg_pool#d",
    windows.adaptive: "_adaptive_avg_pool#d adaptive_avg_pool#d adaptive_max_pool#d",
    windows.resize: (
        "upsample_nearest#d _upsample_nearest_exact#d upsample_linear1d upsample_bilinear2d upsample_trilinear3d "
        "upsample_bicubic2d"
    ),
    windows.antialiased: "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    windows.pad: "constant_pad_nd reflection_pad#d replication_pad#d circular_pad",
    windows.cut: "slice",
    windows.unfold: "unfold",
    windows.im2col: "im2col",
    windows.col2im: "col2im",
    rearranging.same: (
        "alias detach clone contiguous lift_fresh lift _to_copy _conj conj_physical positive view_as_real_copy dropout"
    ),
    rearranging.reshape: ("view _unsafe_view reshape _reshape_alias unsqueeze squeeze flatten view_copy as_strided"),
    rearranging.permute: "permute transpose t movedim",
    rearranging.expand: "expand expand_copy broadcast_to",
    rearranging.repeat: "repeat",
    rearranging.select: "select",
    rearranging.unbind: "unbind",
    rearranging.split: "split split_with_sizes chunk unsafe_split unsafe_split_with_sizes",
    rearranging.join: "cat stack",
    rearranging.copied: "copy copy_",
    rearranging.constant: (
        "fill zero zeros_like ones_like full_like empty_like rand_like randn_like new_empty new_zeros new_ones "
        "new_full new_empty_strided sym_size"
    ),
    rearranging.flip: "flip",
    rearranging.rotate: "rot90",
    rearranging.same_places: "triu tril _prelu_kernel",
    rearranging.looked_up: "embedding",
    rearranging.complex_view: "view_as_complex view_as_real",
    rearranging.roll: "roll",
    rearranging.shuffle: "pixel_shuffle pixel_unshuffle",
    rearranging.channel_shuffle: "channel_shuffle native_channel_shuffle",
    rearranging.diagonal: "diagonal diagonal_copy",
    rearranging.pointwise: (
        "hardswish hardsigmoid hardtanh relu6 rrelu rrelu_with_noise rrelu_with_noise_functional log_sigmoid_forward "
        "polar bucketize searchsorted"
    ),
    indexing.part_written: "slice_scatter select_scatter",
    indexing.index: "index index_select _unsafe_index",
    indexing.gather: "gather",
    indexing.scattered: "scatter scatter_add scatter_reduce",
    indexing.assigned: "index_put _unsafe_index_put index_copy index_add index_fill",
    indexing.taken: "take",
    indexing.anywhere_in_plane: "max_unpool#d fractional_max_pool#d",
    indexing.anywhere: (
        "grid_sampler_2d grid_sampler_3d _cdist_forward nonzero masked_select masked_scatter histc bincount _unique2 "
        "unique_dim unique_consecutive"
    ),
    reductions.product: "mm bmm addmm baddbmm mv addmv dot matmul",
    reductions.linear: "linear",
    reductions.einsum: "einsum",
    reductions.reduce: (
        "mean sum amax amin max min var std var_mean std_mean norm linalg_vector_norm logsumexp prod argmax "
        "argmin any all median nanmean nansum mode kthvalue _is_all_true _is_any_true"
    ),
    reductions.mix: "_safe_softmax _softmax _log_softmax softmax log_softmax sort topk",
    reductions.running: "cumsum cumprod cummax cummin logcumsumexp",
    reductions.batch_norm: (
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
        "_batch_norm_with_update batch_norm_no_update _batch_norm_no_update"
    ),
    reductions.group_norm: "native_group_norm",
    reductions.layer_norm: "native_layer_norm",
    reductions.attention: (
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention scaled_dot_product_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_attention_math"
    ),
    reductions.glu: "glu",
    reductions.loss: "mse_loss smooth_l1_loss huber_loss binary_cross_entropy",
    reductions.crossed: "linalg_cross",
    reductions.rescaled: "renorm",
    reductions.recurrent: "recurrent",
}
TABLE: dict[str, Builder] = {  # with 1, 2 and 3 for #
    name.replace("#", rank): builder for builder, names in GROUPS.items() for name in names.split() for rank in "123"
}
_PRODUCTS = (reductions.product, reductions.linear, reductions.einsum, reductions.attention, reductions.recurrent)
COUNTED: tuple[Builder | None, ...] = (windows.convolution, *_PRODUCTS)  # which multiply and accumulate

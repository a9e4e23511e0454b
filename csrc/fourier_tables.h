// What a Fourier transform of one length needs: its factors and the roots of unity, computed once in double precision.
#pragma once

namespace torchconv {

constexpr int kMostPasses = 24;

struct FourierPass {
  int radix, rest;     // butterflies over elements `rest` apart
  const float *roots;  // cosine and sine of 2 pi p k / (radix * rest), for each p < rest and 1 <= k < radix
};

struct FourierTables {
  int length, count;
  FourierPass passes[kMostPasses];
  const float *halves;  // cosine and sine of pi k / length, for the real transform of twice the length
};

// For a length 2^a 3^b 5^c; never freed.
const FourierTables &fourier_tables(int length);

}  // namespace torchconv

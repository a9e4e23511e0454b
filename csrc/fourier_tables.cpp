#include "fourier_tables.h"

#include <cmath>
#include <map>
#include <mutex>

namespace torchconv {
namespace {

constexpr double kPi = 3.14159265358979323846;

void root(double turn, float *to) {
  to[0] = float(std::cos(kPi * turn));
  to[1] = float(std::sin(kPi * turn));
}

FourierTables made(int length) {
  FourierTables made{length, 0, {}, nullptr};
  int rest = length;
  for (int radix : {8, 4, 5, 3, 2})
    while (rest % radix == 0 && !(radix == 8 && rest == 16)) {  // 16 is 4 x 4
      rest /= radix;
      float *roots = new float[2 * rest * (radix - 1)];
      for (int p = 0; p < rest; ++p)
        for (int k = 1; k < radix; ++k)
          root(2.0 * p * k / (double(rest) * radix), roots + 2 * (p * (radix - 1) + k - 1));
      made.passes[made.count++] = {radix, rest, roots};
    }
  float *halves = new float[2 * (length + 1)];
  for (int k = 0; k <= length; ++k) root(double(k) / length, halves + 2 * k);
  made.halves = halves;
  return made;
}

}  // namespace

const FourierTables &fourier_tables(int length) {
  static std::mutex guard;
  static std::map<int, FourierTables> known;
  std::lock_guard<std::mutex> lock(guard);
  auto found = known.find(length);
  if (found == known.end()) found = known.emplace(length, made(length)).first;
  return found->second;
}

}  // namespace torchconv

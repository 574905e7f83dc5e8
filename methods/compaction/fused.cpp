// The layers of a network in one call: convolutions with what follows them, and pooling, in channels-last memory.
//
// Sums of a few pixels x a few vectors of output channels stay in registers over everything that lies under the kernel;
// weights are read in order, from panels of so many output channels: the register-blocked matrix product of Goto and van
// de Geijn (ACM TOMS 34(3), 2008), whose rows are the windows of pixels. Maps have a border of zeros as wide as any
// reader's padding, so that no window is looked at twice. Bias, shortcut and ReLU are added before a sum is stored.
// A few images go through all layers before the next ones do: their maps stay in a cache.
//
// Where output channels are fewer than a vector's lanes, each has a group of lanes, every one of which sums up other
// numbers under the kernel; the sums of a group are added up at the end.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#ifdef __AVX__
#include <immintrin.h>
#endif

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16, SUMS = 24;
#else
constexpr int LANES = 8, SUMS = 12;  // and up to three weights and an input: AVX2 has 16 registers
#endif
constexpr int BLOCK = 96;  // pixels whose windows are known at once: a multiple of those in registers

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int64_t Pairs __attribute__((vector_size(4 * LANES)));
typedef int32_t Places __attribute__((vector_size(4 * LANES)));
using Order = std::make_integer_sequence<int, LANES>;

// The fields of these three, and their order, are those of methods/compaction/kernel.py.

// Numbers of an image are `pitch` apart, those of a pixel `step`.
struct Map {
  int64_t height, width, channels, step, border;
  int64_t offset;  // of the first image, in the arena
};

struct Step {
  int64_t kind, input, output, shortcut;  // places of maps; no shortcut: -1
  int64_t kernel_height, kernel_width, down, across, top, left, is_rectified;
  int64_t segments;                 // runs of numbers under the kernel
  const int64_t *offsets, *lengths;  // of each; offsets are counted from the window's corner
  int64_t panels;
  const int64_t* vectors;  // of each panel
  int64_t group;           // lanes of an output; every length is a multiple of it
  const float* weight;     // of a panel: [numbers under the kernel / group, vectors x LANES]
  const float* start;      // what lanes begin with, [outputs x group]; of each pixel where start_step is not 0
  int64_t start_step;
  int64_t outputs;
  const float* constant;  // of the channels of the map that are no outputs; none: all are
  const int64_t* firsts;  // of each vector of these channels, the first output among them,
  const int32_t* places;  // and for each lane how many outputs further its own is; no output: -1
};

struct Program {
  const Map* maps;
  const Step* steps;
  int64_t count;
  int64_t chunk;                             // images that go through the layers together
  int64_t image, channel, row, column;       // strides of the images
  int64_t last;                              // place of the map of features
};

enum Kind { CONVOLUTION, MAXIMUM, AVERAGE };

Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

Lanes at_least(Lanes least, Lanes lanes) { return lanes < least ? least : lanes; }  // what is no number stays none

// What a sum is at least.
Lanes lowest(bool is_rectified) { return (is_rectified ? 0 : -std::numeric_limits<float>::infinity()) - Lanes{}; }

// For each lane, the one at its place.
Lanes permuted(Lanes lanes, Places places) {
#if defined __AVX512F__
  return _mm512_permutexvar_ps((__m512i)places, lanes);
#elif defined __AVX2__
  return _mm256_permutevar8x32_ps(lanes, (__m256i)places);
#else
  Lanes found = {};
  for (int lane = 0; lane < LANES; ++lane) found[lane] = lanes[places[lane] & (LANES - 1)];
  return found;
#endif
}

template <int... LANE>
Lanes repeated(const float* four, std::integer_sequence<int, LANE...>) {
  return Lanes{four[LANE % 4]...};
}

// A group of numbers, again and again.
template <int GROUP>
Lanes repeated(const float* from) {
  static_assert(GROUP == 1 || GROUP == 2 || GROUP == 4 || GROUP == LANES);
  if constexpr (GROUP == LANES) {
    Lanes lanes = load(from);
#ifdef __AVX__
    asm("" : "+v"(lanes));  // else GCC loads them once more for each weight, and loads are the limit
#endif
    return lanes;
  }
  if constexpr (GROUP == 1) return *from - Lanes{};  // not +, which makes 0 of -0
  if constexpr (GROUP == 2) {
    int64_t pair;
    std::memcpy(&pair, from, sizeof pair);
    return (Lanes)(pair | Pairs{});
  }
  if constexpr (GROUP == 4) {
#if defined __AVX512F__
    return _mm512_broadcast_f32x4(_mm_loadu_ps(from));
#elif defined __AVX__
    return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(from));
#else
    return repeated(from, Order());
#endif
  }
}

// Numbers that are NEAR lanes apart, added up: of `one` in the lanes without that bit, of `other` in those with it.
template <int NEAR, int... LANE>
inline __attribute__((always_inline)) Lanes paired(Lanes one, Lanes other, std::integer_sequence<int, LANE...>) {
  return Lanes{(LANE & NEAR ? other[LANE] : one[LANE])...} +
         Lanes{(LANE & NEAR ? other[LANE ^ NEAR] : one[LANE ^ NEAR])...};
}

// Add up each group of lanes of COUNT pixels, as a transposed sum: the sums of GROUP pixels go into one vector, side by
// side in each group, which takes about a third of the additions that pixels take one by one.
template <int GROUP, int COUNT, int NEAR = 1>
inline __attribute__((always_inline)) void fold(Lanes* pixels) {
  if constexpr (NEAR < GROUP) {
    constexpr int LEFT = (COUNT + 1) / 2;
#pragma GCC unroll 12
    for (int each = 0; each < LEFT; ++each)
      pixels[each] = paired<NEAR>(pixels[2 * each], pixels[std::min(2 * each + 1, COUNT - 1)], Order());
    fold<GROUP, LEFT, 2 * NEAR>(pixels);
  }
}

// What `fold` left, one pixel after the other.
template <int GROUP, int... LANE>
inline __attribute__((always_inline)) Lanes by_pixel(Lanes lanes, std::integer_sequence<int, LANE...>) {
  constexpr int OUTPUTS = LANES / GROUP;
  return GROUP == LANES ? lanes : Lanes{lanes[LANE % OUTPUTS * GROUP + LANE / OUTPUTS]...};
}

struct Pixel {
  const float *window, *start, *shortcut;
  float* output;
};

// Add the shortcut, rectify and store a vector of outputs of each pixel.
template <int PIXELS>
inline __attribute__((always_inline)) void finish(const Pixel* pixels, Lanes* kept, int64_t first, bool is_added,
                                                  Lanes least) {
#pragma GCC unroll 24
  for (int pixel = 0; pixel < PIXELS; ++pixel) {
    if (is_added) kept[pixel] += load(pixels[pixel].shortcut + first);
    store(pixels[pixel].output + first, at_least(least, kept[pixel]));
  }
}

// The same where each output has a group of lanes.
template <int GROUP, int PIXELS>
inline __attribute__((always_inline)) void finish_groups(const Pixel* pixels, Lanes* kept, int64_t first, bool is_added,
                                                         Lanes least) {
  constexpr int OUTPUTS = LANES / GROUP;
  fold<GROUP, PIXELS>(kept);
  float sums[(PIXELS + GROUP - 1) / GROUP * LANES];
#pragma GCC unroll 12
  for (int each = 0; each < (PIXELS + GROUP - 1) / GROUP; ++each) {
    const Lanes lanes = by_pixel<GROUP>(kept[each], Order());
    store(sums + each * LANES, is_added ? lanes : at_least(least, lanes));
  }
#pragma GCC unroll 24
  for (int pixel = 0; pixel < PIXELS; ++pixel) {
    float* outputs = sums + pixel * OUTPUTS;
    if (is_added)
      for (int each = 0; each < OUTPUTS; ++each) {
        const float sum = outputs[each] + pixels[pixel].shortcut[first + each];
        outputs[each] = sum < least[0] ? least[0] : sum;
      }
    std::memcpy(pixels[pixel].output + first, outputs, OUTPUTS * sizeof(float));
  }
}

// Sum up VECTORS vectors of output channels of PIXELS pixels.
template <int GROUP, int VECTORS, int PIXELS>
void sum(const Step& step, const Pixel* pixels, const float* weight, int64_t first, bool is_last) {
  Lanes kept[VECTORS][PIXELS];
#pragma GCC unroll 24
  for (int pixel = 0; pixel < PIXELS; ++pixel)
#pragma GCC unroll 3
    for (int each = 0; each < VECTORS; ++each) kept[each][pixel] = load(pixels[pixel].start + first + each * LANES);
  for (int64_t segment = 0; segment < step.segments; ++segment) {
    const float* input[PIXELS];
#pragma GCC unroll 24
    for (int pixel = 0; pixel < PIXELS; ++pixel) input[pixel] = pixels[pixel].window + step.offsets[segment];
    const int64_t length = step.lengths[segment];
    for (int64_t place = 0; place < length; place += GROUP, weight += VECTORS * LANES) {
      Lanes weights[VECTORS];
#pragma GCC unroll 3
      for (int each = 0; each < VECTORS; ++each) weights[each] = load(weight + each * LANES);
#pragma GCC unroll 24
      for (int pixel = 0; pixel < PIXELS; ++pixel) {
        const Lanes lanes = repeated<GROUP>(input[pixel] + place);
#pragma GCC unroll 3
        for (int each = 0; each < VECTORS; ++each) kept[each][pixel] += lanes * weights[each];
      }
    }
  }
  const bool is_added = is_last && step.shortcut >= 0;
  const Lanes least = lowest(is_last && step.is_rectified);
#pragma GCC unroll 3
  for (int each = 0; each < VECTORS; ++each) {
    const int64_t output = (first + each * LANES) / GROUP;
    if constexpr (GROUP == 1)
      finish<PIXELS>(pixels, kept[each], output, is_added, least);
    else
      finish_groups<GROUP, PIXELS>(pixels, kept[each], output, is_added, least);
  }
}

template <int GROUP, int VECTORS>
void panel(const Step& step, const Pixel* pixels, int64_t count, const float* weight, int64_t first, bool is_last) {
  constexpr int PIXELS = VECTORS == 1 ? 8 : SUMS / VECTORS;  // as many windows as there are registers for addresses
  for (int64_t pixel = 0; pixel < count; pixel += PIXELS)
    if (count - pixel > PIXELS / 2)
      sum<GROUP, VECTORS, PIXELS>(step, pixels + pixel, weight, first, is_last);
    else
      sum<GROUP, VECTORS, PIXELS / 2>(step, pixels + pixel, weight, first, is_last);
}

template <int GROUP>
void panels(const Step& step, const Pixel* pixels, int64_t count, bool is_last) {
  int64_t under = 0, first = 0;
  for (int64_t segment = 0; segment < step.segments; ++segment) under += step.lengths[segment] / GROUP;
  const float* weight = step.weight;
  for (int64_t each = 0; each < step.panels; ++each) {
    const int64_t lanes = step.vectors[each] * LANES;
    if (lanes == LANES) panel<GROUP, 1>(step, pixels, count, weight, first, is_last);
    if (lanes == 2 * LANES) panel<GROUP, 2>(step, pixels, count, weight, first, is_last);
    if (lanes == 3 * LANES) panel<GROUP, 3>(step, pixels, count, weight, first, is_last);
    weight += under * lanes, first += lanes;
  }
}

class Worker {
 public:
  Worker(const Program& program, float* arena) : program_(program), arena_(arena) {}

  void run(const float* images, float* features, int64_t count) {
    copy(images, count);
    for (int64_t place = 0; place < program_.count; ++place) {
      const Step& step = program_.steps[place];
      if (step.kind == CONVOLUTION) convolve(step, count);
      if (step.kind == MAXIMUM) pool(step, count);
      if (step.kind == AVERAGE) average(step, count);
    }
    const Map& last = program_.maps[program_.last];
    for (int64_t image = 0; image < count; ++image)
      std::copy_n(at(last, image, 0, 0), last.channels, features + image * last.channels);
  }

 private:
  static int64_t pitch(const Map& map) { return (map.width + 2 * map.border) * map.step; }

  // The numbers of a pixel; the border has negative rows and columns.
  float* at(const Map& map, int64_t image, int64_t row, int64_t column) const {
    const int64_t high = map.height + 2 * map.border;
    return arena_ + map.offset + (image * high + row + map.border) * pitch(map) + (column + map.border) * map.step;
  }

  void copy(const float* images, int64_t count) {
    const Map& map = program_.maps[0];
    for (int64_t image = 0; image < count; ++image)
      for (int64_t row = 0; row < map.height; ++row) {
        const float* from = images + image * program_.image + row * program_.row;
        float* to = at(map, image, row, 0);
        if (program_.channel == 1 && program_.column == map.step) {
          std::copy_n(from, map.width * map.step, to);
          continue;
        }
        for (int64_t channel = 0; channel < map.channels; ++channel)
          for (int64_t column = 0; column < map.width; ++column)
            to[column * map.step + channel] = from[column * program_.column + channel * program_.channel];
      }
  }

  void convolve(const Step& step, int64_t images) {
    const Map &input = program_.maps[step.input], &output = program_.maps[step.output];
    const bool is_added = step.shortcut >= 0;
    const int64_t window_step = step.across * input.step, start_step = step.start_step, output_step = output.step;
    const int64_t shortcut_step = is_added ? program_.maps[step.shortcut].step : 0;
    Pixel pixels[BLOCK + SUMS];
    int64_t count = 0;
    for (int64_t image = 0; image < images; ++image)
      for (int64_t row = 0; row < output.height; ++row) {
        const float* window = at(input, image, row * step.down - step.top, -step.left);
        const float* start = step.start + row * output.width * start_step;
        const float* shortcut = is_added ? at(program_.maps[step.shortcut], image, row, 0) : nullptr;
        float* to = at(output, image, row, 0);
        for (int64_t column = 0; column < output.width;) {
          const int64_t end = std::min(output.width, column + BLOCK - count);
          for (; column < end; ++column, ++count)  // by multiples: GCC 12 took the wrong ones of four growing pointers
            pixels[count] = {window + column * window_step, start + column * start_step,
                             shortcut + column * shortcut_step, to + column * output_step};
          if (count == BLOCK) flush(step, pixels, count), count = 0;
        }
      }
    if (count) flush(step, pixels, count);
  }

  void flush(const Step& step, Pixel* pixels, int64_t count) {
    const int64_t padded = (step.outputs + LANES - 1) / LANES * LANES;
    float* outputs[BLOCK];
    if (step.constant) {
      row_.resize(BLOCK * padded + LANES);
      for (int64_t each = 0; each < count; ++each)
        outputs[each] = std::exchange(pixels[each].output, &row_[each * padded]);
    }
    std::fill_n(pixels + count, SUMS, pixels[count - 1]);  // the last one again, to fill the registers
    if (step.group == 1) panels<1>(step, pixels, count, !step.constant);
    if (step.group == 2) panels<2>(step, pixels, count, !step.constant);
    if (step.group == 4) panels<4>(step, pixels, count, !step.constant);
    if (step.group == LANES) panels<LANES>(step, pixels, count, !step.constant);
    if (step.constant) spread(step, pixels, outputs, count);
  }

  // Put outputs of pixels where they belong among the channels of a map, add the shortcut, rectify.
  void spread(const Step& step, const Pixel* pixels, float* const* to, int64_t count) const {
    const int64_t channels = program_.maps[step.output].step;
    const Lanes least = lowest(step.is_rectified);
    for (int64_t channel = 0; channel < channels; channel += LANES) {
      Places places;
      std::memcpy(&places, step.places + channel, sizeof places);
      const Lanes constant = load(step.constant + channel);
      const int64_t first = step.firsts[channel / LANES];
      for (int64_t each = 0; each < count; ++each) {
        const Lanes outputs = permuted(load(pixels[each].output + first), places);
        Lanes lanes = places < 0 ? constant : outputs;
        if (pixels[each].shortcut) lanes += load(pixels[each].shortcut + channel);
        store(to[each] + channel, at_least(least, lanes));
      }
    }
  }

  void pool(const Step& step, int64_t images) {
    const Map &input = program_.maps[step.input], &output = program_.maps[step.output];
    for (int64_t image = 0; image < images; ++image)
      for (int64_t row = 0; row < output.height; ++row)
        for (int64_t column = 0; column < output.width; ++column) {
          const int64_t top = row * step.down - step.top, left = column * step.across - step.left;
          const int64_t bottom = std::min(top + step.kernel_height, input.height);
          const int64_t right = std::min(left + step.kernel_width, input.width);
          float* to = at(output, image, row, column);
          std::copy_n(at(input, image, std::max<int64_t>(top, 0), std::max<int64_t>(left, 0)), output.channels, to);
          for (int64_t down = std::max<int64_t>(top, 0); down < bottom; ++down)
            for (int64_t across = std::max<int64_t>(left, 0); across < right; ++across) {
              const float* from = at(input, image, down, across);
              for (int64_t channel = 0; channel < output.channels; ++channel)
                to[channel] = to[channel] < from[channel] || from[channel] != from[channel] ? from[channel] : to[channel];
            }
        }
  }

  void average(const Step& step, int64_t images) {
    const Map &input = program_.maps[step.input], &output = program_.maps[step.output];
    const float share = 1.0f / float(input.height * input.width);
    for (int64_t image = 0; image < images; ++image) {
      float* to = at(output, image, 0, 0);
      std::fill_n(to, output.step, 0.0f);
      for (int64_t row = 0; row < input.height; ++row)
        for (int64_t column = 0; column < input.width; ++column) {
          const float* from = at(input, image, row, column);
          for (int64_t channel = 0; channel < output.channels; ++channel) to[channel] += from[channel];
        }
      for (int64_t channel = 0; channel < output.channels; ++channel) to[channel] *= share;
    }
  }

  const Program& program_;
  float* const arena_;
  std::vector<float> row_;
};

}  // namespace

extern "C" int64_t lanes() { return LANES; }

// Compute the features of images, a share of them in each thread, which has an arena of its own.
extern "C" void run(const Program* program, const float* images, float* features, int64_t count, float* const* arenas,
                    int64_t threads) {
  const int64_t share = (count + threads - 1) / threads, length = program->maps[program->last].channels;
  const auto work = [&](int64_t thread) {
    Worker worker(*program, arenas[thread]);
    const int64_t end = std::min((thread + 1) * share, count);
    for (int64_t first = thread * share; first < end; first += program->chunk)
      worker.run(images + first * program->image, features + first * length, std::min(program->chunk, end - first));
  };
  std::vector<std::thread> helpers;
  for (int64_t thread = 1; thread < threads && thread * share < count; ++thread) helpers.emplace_back(work, thread);
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

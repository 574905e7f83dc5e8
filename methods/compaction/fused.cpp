// The layers of a network in one call: convolutions with what follows them, and pooling, in channels-last memory.
//
// Sums of a few pixels x a few vectors of output channels stay in registers over everything that lies under the kernel;
// weights are read in order, from panels of so many output channels: the register-blocked matrix product of Goto and van
// de Geijn (ACM TOMS 34(3), 2008), whose rows are the windows of pixels. Maps have a border of zeros as wide as any
// reader's padding, so that no window is looked at twice. Bias, shortcut and ReLU are added before a sum is stored.
// A few images go through all layers before the next ones do: their maps stay in a cache.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16, SUMS = 24;
#else
constexpr int LANES = 8, SUMS = 12;  // and up to three weights and an input: AVX2 has 16 registers
#endif
constexpr int BLOCK = 96;   // pixels whose windows are known at once: a multiple of those in registers
constexpr int SPREAD = 8;   // pixels whose channels are spread at once

typedef float Lanes __attribute__((vector_size(4 * LANES)));

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
  const float* weight;     // of a panel: [numbers under the kernel, vectors x LANES]
  const float* start;      // what sums begin with, [outputs]; of each pixel where start_step is not 0
  int64_t start_step;
  const int64_t* places;  // where outputs go among the channels of the map; none: in their order
  int64_t outputs;
  const float* constant;  // of the channels of the map that are no outputs
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

Lanes rectified(Lanes lanes) {
  const Lanes zeros = {};
  return lanes < zeros ? zeros : lanes;  // what is no number stays none
}

struct Pixel {
  const float *window, *start, *shortcut;
  float* output;
};

// Sum up VECTORS vectors of output channels of PIXELS pixels.
template <int VECTORS, int PIXELS>
void sum(const Step& step, const Pixel* pixels, const float* weight, int64_t first, bool is_last) {
  Lanes kept[PIXELS][VECTORS];
#pragma GCC unroll 24
  for (int pixel = 0; pixel < PIXELS; ++pixel)
#pragma GCC unroll 3
    for (int each = 0; each < VECTORS; ++each) kept[pixel][each] = load(pixels[pixel].start + first + each * LANES);
  for (int64_t segment = 0; segment < step.segments; ++segment) {
    const float* input[PIXELS];
#pragma GCC unroll 24
    for (int pixel = 0; pixel < PIXELS; ++pixel) input[pixel] = pixels[pixel].window + step.offsets[segment];
    const int64_t length = step.lengths[segment];
    for (int64_t place = 0; place < length; ++place, weight += VECTORS * LANES) {
      Lanes weights[VECTORS];
#pragma GCC unroll 3
      for (int each = 0; each < VECTORS; ++each) weights[each] = load(weight + each * LANES);
#pragma GCC unroll 24
      for (int pixel = 0; pixel < PIXELS; ++pixel)
#pragma GCC unroll 3
        for (int each = 0; each < VECTORS; ++each) kept[pixel][each] += input[pixel][place] * weights[each];
    }
  }
#pragma GCC unroll 24
  for (int pixel = 0; pixel < PIXELS; ++pixel)
#pragma GCC unroll 3
    for (int each = 0; each < VECTORS; ++each) {
      Lanes lanes = kept[pixel][each];
      if (is_last && pixels[pixel].shortcut) lanes += load(pixels[pixel].shortcut + first + each * LANES);
      store(pixels[pixel].output + first + each * LANES, is_last && step.is_rectified ? rectified(lanes) : lanes);
    }
}

template <int VECTORS>
void panel(const Step& step, const Pixel* pixels, int64_t count, const float* weight, int64_t first, bool is_last) {
  constexpr int PIXELS = VECTORS == 1 ? SUMS * 2 / 3 : SUMS / VECTORS;  // one weight: the inputs' loads are the limit
  for (int64_t pixel = 0; pixel < count; pixel += PIXELS)
    sum<VECTORS, PIXELS>(step, pixels + pixel, weight, first, is_last);
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
        for (int64_t column = 0; column < map.width; ++column)
          for (int64_t channel = 0; channel < map.channels; ++channel)
            to[column * map.step + channel] = from[column * program_.column + channel * program_.channel];
      }
  }

  void convolve(const Step& step, int64_t images) {
    const Map &input = program_.maps[step.input], &output = program_.maps[step.output];
    const int64_t padded = (step.outputs + LANES - 1) / LANES * LANES;
    Pixel pixels[BLOCK];
    float* outputs[BLOCK];
    const float* shortcuts[BLOCK];
    if (step.places) row_.resize(BLOCK * padded);
    int64_t count = 0;
    for (int64_t image = 0; image < images; ++image)
      for (int64_t row = 0; row < output.height; ++row) {
        const float* window = at(input, image, row * step.down - step.top, -step.left);
        const float* start = step.start + row * output.width * step.start_step;
        const float* shortcut = step.shortcut < 0 ? nullptr : at(program_.maps[step.shortcut], image, row, 0);
        const int64_t shortcut_step = step.shortcut < 0 ? 0 : program_.maps[step.shortcut].step;
        float* to = at(output, image, row, 0);
        for (int64_t column = 0; column < output.width; ++column) {
          outputs[count] = to;
          shortcuts[count] = shortcut;
          pixels[count] = {window, start, shortcut, step.places ? &row_[count * padded] : to};
          window += step.across * input.step, start += step.start_step, to += output.step;
          if (shortcut) shortcut += shortcut_step;
          if (++count == BLOCK) flush(step, pixels, outputs, shortcuts, count), count = 0;
        }
      }
    if (count) flush(step, pixels, outputs, shortcuts, count);
  }

  void flush(const Step& step, Pixel* pixels, float* const* outputs, const float* const* shortcuts, int64_t count) {
    for (int64_t each = count; each < std::min<int64_t>(BLOCK, count + SUMS); ++each)
      pixels[each] = pixels[count - 1];  // the last one again, to fill the registers
    int64_t under = 0, first = 0;
    for (int64_t segment = 0; segment < step.segments; ++segment) under += step.lengths[segment];
    const float* weight = step.weight;
    for (int64_t each = 0; each < step.panels; ++each) {
      const int64_t vectors = step.vectors[each];
      if (vectors == 1) panel<1>(step, pixels, count, weight, first, !step.places);
      if (vectors == 2) panel<2>(step, pixels, count, weight, first, !step.places);
      if (vectors == 3) panel<3>(step, pixels, count, weight, first, !step.places);
      weight += under * vectors * LANES, first += vectors * LANES;
    }
    if (step.places) spread(step, outputs, shortcuts, count);
  }

  // Put outputs where they belong among the channels of a map, add the shortcut, rectify.
  void spread(const Step& step, float* const* outputs, const float* const* shortcuts, int64_t count) {
    const int64_t width = program_.maps[step.output].step, padded = (step.outputs + LANES - 1) / LANES * LANES;
    spread_.resize(SPREAD * width);
    for (int64_t each = 0; each < SPREAD; ++each) std::copy_n(step.constant, width, &spread_[each * width]);
    for (int64_t first = 0; first < count; first += SPREAD) {
      const int64_t some = std::min<int64_t>(SPREAD, count - first);
      for (int64_t each = 0; each < some; ++each) {
        const float* from = &row_[(first + each) * padded];
        float* to = &spread_[each * width];
        for (int64_t output = 0; output < step.outputs; ++output) to[step.places[output]] = from[output];
      }
      for (int64_t each = 0; each < some; ++each) {
        const float *from = &spread_[each * width], *shortcut = shortcuts[first + each];
        float* to = outputs[first + each];
        for (int64_t channel = 0; channel < width; channel += LANES) {
          Lanes lanes = load(from + channel);
          if (shortcut) lanes += load(shortcut + channel);
          store(to + channel, step.is_rectified ? rectified(lanes) : lanes);
        }
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
          std::copy_n(at(input, image, std::max<int64_t>(top, 0), std::max<int64_t>(left, 0)), output.step, to);
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
  std::vector<float> row_, spread_;
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

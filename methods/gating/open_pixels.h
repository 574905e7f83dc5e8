// Which pixels of a convolution's output are open, and what lies under the kernel there, in channels-last memory.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#ifdef __AVX512F__
constexpr int LANES = 16, PIXELS = 12;
#else
constexpr int LANES = 8, PIXELS = 6;  // 12 sums, 2 weights and an input: 15 of AVX2's 16 registers
#endif
constexpr int WIDTH = 2 * LANES;
constexpr int LINE = 16;             // numbers that a cache fetches at once
constexpr int BLOCK = 32 * PIXELS;   // pixels whose windows are known at once
constexpr int RANGE = 2 * BLOCK;     // pixels for which all is computed before the next ones: they stay in a cache

typedef float Lanes __attribute__((vector_size(4 * LANES)));

// The fields of these four, and their order, are those of methods/gating/compiled.py and methods/gating/tables.py.

// Neighbouring input channels under one position of the kernel, from the window's corner on, which may lie outside.
struct Segment {
  int64_t row, column, channel, length;
  int64_t tap;  // where their weights begin in a filter
};

// Up to WIDTH output channels. They read the segments of their part, `shift` input channels further on.
struct Panel {
  int64_t first, last, shift, weight;

  int64_t width() const { return last - first > LANES ? WIDTH : LANES; }
};

// Panels that are computed at the same pixels: where any slice of these outputs, from first to last, is open.
struct Part {
  int64_t first, last, segment, segments, panel, panels;
};

struct Job {
  float* output;        // [images, high, wide, outputs]; if compact, [open pixels, outputs]
  const float* input;   // [images, height, width, channels]
  float* weight;        // of a panel: [inputs under the kernel, its width]
  const float* bias;    // [outputs]
  uint8_t* is_open;     // [images, slices, high, wide]; if null, everything is open, and there is one slice
  const Segment* segments;
  const Panel* panels;
  const Part* parts;
  int64_t images, height, width, channels, high, wide, outputs, slices, part_count, down, across;
  int64_t adds;     // to what the output holds, instead of to the bias
  int64_t compact;  // the output has open pixels alone; there is one slice
  int64_t filter;   // numbers in a filter: positions of the kernel x channels
};

inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// Sum up ROWS windows times VECTORS x LANES columns of weights, into rows of WIDTH. A window is where its segments
// begin.
template <int ROWS, int VECTORS>
void sum(const Segment* segments, int64_t count, const float* const* windows, int64_t shift, const float* weight,
         float* sums) {
  Lanes kept[ROWS][2] = {};
  for (int64_t segment = 0; segment < count; ++segment) {
    const float* input[ROWS];
    for (int row = 0; row < ROWS; ++row) input[row] = windows[row * count + segment] + shift;
    const int64_t length = segments[segment].length;
    constexpr int STEP = 3 - VECTORS;  // a single vector takes two channels at once: as many sums hide their latency
    int64_t channel = 0;
    for (; channel + STEP <= length; channel += STEP, weight += 2 * LANES) {
      const Lanes left = load(weight), right = load(weight + LANES);
#pragma GCC unroll 12
      for (int row = 0; row < ROWS; ++row) {
        kept[row][0] += input[row][channel] * left;
        kept[row][1] += input[row][channel + STEP - 1] * right;
      }
    }
    if (channel < length) {
      const Lanes left = load(weight);
#pragma GCC unroll 12
      for (int row = 0; row < ROWS; ++row) kept[row][0] += input[row][channel] * left;
      weight += LANES;
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; ++row) {
    if (VECTORS == 1) kept[row][0] += kept[row][1];
    std::memcpy(sums + row * WIDTH, kept[row], VECTORS * sizeof(Lanes));
  }
}

// Finds the open pixels of one part, block by block, and what lies under the kernel; a subclass computes something.
class Worker {
 public:
  Worker(const Job& job, const Part& part, const float* zeros)
      : job_(job), part_(part), segments_(job.segments + part.segment), zeros_(zeros), size_(job.high * job.wide),
        slice_(job.outputs / job.slices), windows_(BLOCK * part.segments) {
    for (int64_t each = 0; each < part.segments; ++each) {
      const Segment& segment = segments_[each];
      offsets_.push_back((segment.row * job.width + segment.column) * job.channels + segment.channel);
      top_ = std::min(top_, segment.row), bottom_ = std::max(bottom_, segment.row);
      left_ = std::min(left_, segment.column), right_ = std::max(right_, segment.column);
    }
  }

  virtual ~Worker() = default;

  // Compute the open pixels among these, counted over all images. Calls go from range to range without a gap.
  void run(int64_t begin, int64_t end) {
    static const uint8_t open = 1;
    if (taken_ < 0) taken_ = job_.compact ? std::count_if(job_.is_open, job_.is_open + begin, is_set) : 0;
    int64_t image = begin / size_, row = begin % size_ / job_.wide, column = begin % job_.wide;
    for (int64_t place = begin; place < end; ++place) {
      const uint8_t* gates = job_.is_open ? job_.is_open + place + image * (job_.slices - 1) * size_ : &open;
      if (is_open(gates)) {
        pixels_[count_] = {gates, job_.output + (job_.compact ? taken_++ : place) * job_.outputs};
        look(image, row * job_.down, column * job_.across);
        if (++count_ == BLOCK) flush();
      }
      if (++column == job_.wide) {
        column = 0;
        if (++row == job_.high) row = 0, ++image;
      }
    }
    flush();
  }

 protected:
  struct Pixel {
    const uint8_t* gates;
    float* output;
  };

  // Do something at the first `count_` pixels. Windows are there for so many as fill the registers.
  virtual void compute() = 0;

  bool has_slice(const Pixel& pixel, int64_t slice) const { return pixel.gates[slice * size_]; }

  const Job& job_;
  const Part& part_;
  const Segment* segments_;
  const float* zeros_;
  const int64_t size_, slice_;
  std::vector<const float*> windows_;
  Pixel pixels_[BLOCK];
  int64_t count_ = 0;

 private:
  static bool is_set(uint8_t gate) { return gate != 0; }

  bool is_open(const uint8_t* gates) const {
    bool any = false;
    for (int64_t slice = part_.first / slice_; slice * slice_ < part_.last; ++slice) any |= gates[slice * size_];
    return any;
  }

  // Say where a pixel's window lies, segment by segment; outside the image lie zeros.
  void look(int64_t image, int64_t row, int64_t column) {
    const float** window = &windows_[count_ * part_.segments];
    const float* corner = job_.input + ((image * job_.height + row) * job_.width + column) * job_.channels;
    if (has(row + top_, column + left_) && has(row + bottom_, column + right_)) {
      for (int64_t each = 0; each < part_.segments; ++each) window[each] = corner + offsets_[each];
      const float* newest = corner + (bottom_ * job_.width + right_) * job_.channels;
      for (int64_t channel = 0; channel < job_.channels; channel += LINE) __builtin_prefetch(newest + channel);
    } else {
      for (int64_t each = 0; each < part_.segments; ++each) {
        const Segment& segment = segments_[each];
        window[each] = has(row + segment.row, column + segment.column) ? corner + offsets_[each] : zeros_;
      }
    }
  }

  bool has(int64_t row, int64_t column) const {
    return 0 <= row && row < job_.height && 0 <= column && column < job_.width;
  }

  void flush() {
    if (count_ == 0) return;
    for (int64_t each = count_; each % PIXELS != 0; ++each)  // the last one again, to fill the registers
      std::copy_n(&windows_[(count_ - 1) * part_.segments], part_.segments, &windows_[each * part_.segments]);
    compute();
    count_ = 0;
  }

  std::vector<int64_t> offsets_;
  int64_t top_ = INT64_MAX, bottom_ = INT64_MIN, left_ = INT64_MAX, right_ = INT64_MIN;
  int64_t taken_ = -1;
};

// Let every thread work on a share of the pixels: a whole number of `unit`s.
template <typename Work>
void share(int64_t pixels, int64_t unit, int64_t threads, const Work& work) {
  const int64_t each = (pixels / unit + threads - 1) / threads * unit;
  std::vector<std::thread> helpers;
  for (int64_t begin = each; begin < pixels; begin += each)
    helpers.emplace_back(work, begin, std::min(begin + each, pixels));
  work(int64_t(0), std::min(each, pixels));
  for (std::thread& helper : helpers) helper.join();
}

// A convolution at some of its output pixels, in channels-last memory.
//
// Sums of PIXELS open pixels x WIDTH output channels stay in registers over everything that lies under the kernel. Inputs
// are read where they are: there is no column matrix and no padded copy. Weights are read in order, from panels of WIDTH
// output channels. This is the register-blocked matrix product of Goto and van de Geijn (ACM TOMS 34(3), 2008), whose
// rows are the windows of open pixels.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16, PIXELS = 12;
#else
constexpr int LANES = 8, PIXELS = 6;  // 12 sums, 2 weights and an input: 15 of AVX2's 16 registers
#endif
constexpr int WIDTH = 2 * LANES;
constexpr int LINE = 16;             // numbers that a cache fetches at once
constexpr int BLOCK = 16 * PIXELS;   // pixels whose windows are known at once
constexpr int RANGE = 4 * BLOCK;     // pixels for which everything is computed before the next ones: they stay in a cache

typedef float Lanes __attribute__((vector_size(4 * LANES)));

// The fields of these four, and their order, are those of methods/gating/compiled.py.

// Neighbouring input channels under one position of the kernel, counted from the window's corner, which may lie outside.
struct Segment {
  int64_t row, column, channel, length;
};

// Up to WIDTH output channels. They read the segments of their part, `shift` input channels further on.
struct Panel {
  int64_t first, last, shift, weight;
};

// Panels that are computed at the same pixels: where any slice of these outputs, from first to last, is open.
struct Part {
  int64_t first, last, segment, segments, panel, panels;
};

struct Job {
  float* output;        // [images, high, wide, outputs]
  const float* input;   // [images, height, width, channels]
  const float* weight;  // of a panel: [inputs under the kernel, WIDTH]
  const float* bias;    // [outputs]
  uint8_t* is_open;     // [images, slices, high, wide]
  const Segment* segments;
  const Panel* panels;
  const Part* parts;
  int64_t images, height, width, channels, high, wide, outputs, slices, part_count, down, across;
  int64_t adds;  // to what the output holds, instead of to the bias
};

Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// Sum up WIDTH output channels of PIXELS windows. A window is where its segments begin.
void sum(const Segment* segments, int64_t count, const float* const* windows, int64_t shift, const float* weight,
         float* sums) {
  Lanes kept[PIXELS][2] = {};
  for (int64_t segment = 0; segment < count; ++segment) {
    const float* input[PIXELS];
    for (int pixel = 0; pixel < PIXELS; ++pixel) input[pixel] = windows[pixel * count + segment] + shift;
    for (int64_t channel = 0; channel < segments[segment].length; ++channel, weight += WIDTH) {
      const Lanes left = load(weight), right = load(weight + LANES);
#pragma GCC unroll 12
      for (int pixel = 0; pixel < PIXELS; ++pixel) {
        kept[pixel][0] += input[pixel][channel] * left;
        kept[pixel][1] += input[pixel][channel] * right;
      }
    }
  }
  std::memcpy(sums, kept, sizeof kept);
}

// Computes one part, block by block.
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

  // Compute the open pixels among these, counted over all images.
  void run(int64_t begin, int64_t end) {
    int64_t image = begin / size_, row = begin % size_ / job_.wide, column = begin % job_.wide;
    for (int64_t place = begin; place < end; ++place) {
      const uint8_t* gates = job_.is_open + place + image * (job_.slices - 1) * size_;
      if (is_open(gates)) {
        pixels_[count_] = {gates, job_.output + place * job_.outputs};
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

 private:
  struct Pixel {
    const uint8_t* gates;
    float* output;
  };

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
    float sums[PIXELS][WIDTH];
    for (int64_t index = part_.panel; index < part_.panel + part_.panels; ++index) {
      const Panel& panel = job_.panels[index];
      for (int64_t pixel = 0; pixel < count_; pixel += PIXELS) {
        sum(segments_, part_.segments, &windows_[pixel * part_.segments], panel.shift, job_.weight + panel.weight,
            &sums[0][0]);
        for (int64_t each = 0; each < std::min<int64_t>(PIXELS, count_ - pixel); ++each)
          store(pixels_[pixel + each], panel, sums[each]);
      }
    }
    count_ = 0;
  }

  // Put the sums of a pixel where its slices are open.
  void store(const Pixel& pixel, const Panel& panel, const float* sums) {
    const float* start = job_.adds ? pixel.output : job_.bias;
    for (int64_t channel = panel.first; channel < panel.last;) {
      const int64_t slice = channel / slice_, end = std::min(panel.last, (slice + 1) * slice_);
      if (pixel.gates[slice * size_])
#pragma GCC ivdep
        for (int64_t each = channel; each < end; ++each) pixel.output[each] = start[each] + sums[each - panel.first];
      channel = end;
    }
  }

  const Job& job_;
  const Part& part_;
  const Segment* segments_;
  const float* zeros_;
  const int64_t size_, slice_;
  std::vector<const float*> windows_;
  std::vector<int64_t> offsets_;
  int64_t top_ = INT64_MAX, bottom_ = INT64_MIN, left_ = INT64_MAX, right_ = INT64_MIN;
  Pixel pixels_[BLOCK];
  int64_t count_ = 0;
};

std::vector<Worker> workers(const Job* job, const float* zeros) {
  std::vector<Worker> found;
  for (int64_t part = 0; job && part < job->part_count; ++part) found.emplace_back(*job, job->parts[part], zeros);
  return found;
}

// Open the slices whose sum of outputs exceeds their level.
void decide(const Job& job, const float* levels, int64_t begin, int64_t end) {
  const int64_t size = job.high * job.wide, slice = job.outputs / job.slices;
  for (int64_t place = begin; place < end; ++place) {
    const float* output = job.output + place * job.outputs;
    for (int64_t index = 0; index < job.slices; ++index) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t each = 0; each < slice; ++each) sum += output[index * slice + each];
      job.is_open[place + (place / size * (job.slices - 1) + index) * size] = sum > levels[index];
    }
  }
}

}  // namespace

extern "C" int64_t width() { return WIDTH; }

// Compute what is open, a share of the pixels in each thread; then, if there is more, open slices by what came out, and
// compute that too.
extern "C" void write(const Job* job, const Job* more, const float* levels, int64_t threads) {
  const std::vector<float> zeros(job->channels);
  const int64_t pixels = job->images * job->high * job->wide, share = (pixels + threads - 1) / threads;
  const auto work = [&](int64_t begin) {
    std::vector<Worker> first = workers(job, zeros.data()), second = workers(more, zeros.data());
    const int64_t end = std::min(begin + share, pixels);
    for (; begin < end; begin += RANGE) {
      const int64_t last = std::min(begin + RANGE, end);
      for (Worker& worker : first) worker.run(begin, last);
      if (more) decide(*more, levels, begin, last);
      for (Worker& worker : second) worker.run(begin, last);
    }
  };
  std::vector<std::thread> helpers;
  for (int64_t begin = share; begin < pixels; begin += share) helpers.emplace_back(work, begin);
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

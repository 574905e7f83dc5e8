// The gradients of a convolution that was computed at some of its output pixels: closed ones have no share in them.
//
// Both are the matrix products of `sum`. Towards the inputs: errors of PIXELS pixels times WIDTH input channels of the
// filters, added where the windows lie. Towards the filters: errors of some output channels times WIDTH input channels
// of the windows, over a block's pixels.

#include "open_pixels.h"

namespace {

// Adds up what one part contributes.
class Backward final : public Worker {
 public:
  Backward(const Job& job, const Part& part, const float* zeros, const float* filters, float* to_input,
           float* to_filters)
      : Worker(job, part, zeros), filters_(filters), to_input_(to_input), to_filters_(to_filters) {
    const int64_t outputs = part.last - part.first;
    errors_.resize(BLOCK * outputs);
    by_output_.resize((outputs + PIXELS) * BLOCK);
    weights_.resize(outputs * WIDTH);
  }

 private:
  static constexpr int FEW = 4;      // rows of a product, where PIXELS are too many
  static constexpr int AHEAD = 16;  // pixels later: what a cache fetches meanwhile

  void compute() override {
    for (int64_t index = part_.panel; index < part_.panel + part_.panels;) {
      const Panel& panel = job_.panels[index];
      int64_t last = panel.last;  // neighbouring panels that read the same inputs are one
      while (++index < part_.panel + part_.panels && job_.panels[index].shift == panel.shift)
        last = job_.panels[index].last;
      read(panel.first, last);
      for (int64_t each = 0; each < part_.segments; ++each)
        for (int64_t channel = 0; channel < segments_[each].length; channel += WIDTH) {
          const int64_t length = std::min<int64_t>(WIDTH, segments_[each].length - channel);
          const int64_t from = panel.shift + channel, tap = panel.first * job_.filter + segments_[each].tap + from;
          if (length > LANES) {
            down<2>(each, from, length, last - panel.first, filters_ + tap);
            across<2>(each, from, length, last - panel.first, to_filters_ + tap);
          } else {
            down<1>(each, from, length, last - panel.first, filters_ + tap);
            across<1>(each, from, length, last - panel.first, to_filters_ + tap);
          }
        }
    }
  }

  // Take the errors of these outputs, 0 where a slice is closed: by pixel, and by output.
  void read(int64_t first, int64_t last) {
    const int64_t outputs = last - first;
    for (int64_t pixel = 0; pixel < count_; ++pixel) {
      const float* from = pixels_[pixel].output;
      __builtin_prefetch(pixels_[std::min(pixel + AHEAD, count_ - 1)].output + first);
      float* to = &errors_[pixel * outputs];
      for (int64_t channel = first; channel < last;) {
        const int64_t slice = channel / slice_, end = std::min(last, (slice + 1) * slice_);
        const bool is_open = has_slice(pixels_[pixel], slice);
        for (; channel < end; ++channel) to[channel - first] = is_open ? from[channel] : 0;
      }
      for (int64_t output = 0; output < outputs; ++output) by_output_[output * BLOCK + pixel] = to[output];
    }
  }

  // Add the errors of the outputs times their filters to up to VECTORS x LANES input channels of every window.
  template <int VECTORS>
  void down(int64_t each, int64_t channel, int64_t length, int64_t outputs, const float* filters) {
    for (int64_t output = 0; output < outputs; ++output)
      copy<VECTORS>(filters + output * job_.filter, length, &weights_[output * VECTORS * LANES]);
    const Segment all{0, 0, 0, outputs, 0};
    const float* rows[PIXELS];
    float sums[PIXELS][WIDTH];
    for (int64_t pixel = 0; pixel < count_; pixel += PIXELS) {
      const int64_t some = std::min<int64_t>(PIXELS, count_ - pixel);
      float* to[PIXELS];
      for (int64_t row = 0; row < PIXELS; ++row) {
        const float* window = windows_[(pixel + row) * part_.segments + each];
        to[row] = window == zeros_ ? nullptr : to_input_ + (window - job_.input) + channel;
        __builtin_prefetch(to_input_ + (ahead(pixel + row + PIXELS, each) - job_.input) + channel, 1);
        rows[row] = &errors_[(pixel + row) * outputs];
      }
      sum<PIXELS, VECTORS>(&all, 1, rows, 0, weights_.data(), &sums[0][0]);
      for (int64_t row = 0; row < some; ++row)
        if (to[row]) add<VECTORS>(sums[row], length, to[row]);
    }
  }

  // Add the errors of the outputs times up to VECTORS x LANES input channels of all windows to the filters' gradient.
  template <int VECTORS>
  void across(int64_t each, int64_t channel, int64_t length, int64_t outputs, float* gradient) {
    for (int64_t pixel = 0; pixel < count_; ++pixel) {
      __builtin_prefetch(ahead(pixel + AHEAD, each) + channel);
      copy<VECTORS>(windows_[pixel * part_.segments + each] + channel, length, &inputs_[pixel * VECTORS * LANES]);
    }
    const Segment all{0, 0, 0, count_, 0};
    const float* rows[PIXELS];
    float sums[PIXELS][WIDTH];
    for (int64_t output = 0; output < outputs;) {
      const int64_t left = outputs - output;
      const bool is_many = left >= PIXELS && left != 2 * FEW;
      for (int64_t row = 0; row < PIXELS; ++row) rows[row] = &by_output_[(output + row) * BLOCK];
      (is_many ? sum<PIXELS, VECTORS> : sum<FEW, VECTORS>)(&all, 1, rows, 0, inputs_, &sums[0][0]);
      const int64_t made = std::min<int64_t>(is_many ? PIXELS : FEW, left);
      for (int64_t row = 0; row < made; ++row)
        add<VECTORS>(sums[row], length, gradient + (output + row) * job_.filter);
      output += made;
    }
  }

  // Return where a segment of a pixel lies; of the last one, if it comes later.
  const float* ahead(int64_t pixel, int64_t each) const {
    return windows_[std::min(pixel, count_ - 1) * part_.segments + each];
  }

  // Copy up to VECTORS x LANES numbers, and 0 behind them.
  template <int VECTORS>
  static void copy(const float* from, int64_t length, float* to) {
    if (length == VECTORS * LANES) {
      std::memcpy(to, from, VECTORS * sizeof(Lanes));
    } else {
      for (int64_t lane = 0; lane < VECTORS * LANES; ++lane) to[lane] = lane < length ? from[lane] : 0;
    }
  }

  // Add up to VECTORS x LANES numbers.
  template <int VECTORS>
  static void add(const float* from, int64_t length, float* to) {
    if (length == VECTORS * LANES) {
      for (int64_t lane = 0; lane < VECTORS * LANES; lane += LANES) {
        const Lanes sum = load(to + lane) + load(from + lane);
        std::memcpy(to + lane, &sum, sizeof sum);
      }
    } else {
      for (int64_t lane = 0; lane < length; ++lane) to[lane] += from[lane];
    }
  }

  const float* filters_;
  float *to_input_, *to_filters_;
  std::vector<float> errors_;     // [pixels, outputs]
  std::vector<float> by_output_;  // [outputs and a few more, BLOCK]
  std::vector<float> weights_;    // [outputs, width]
  float inputs_[BLOCK * WIDTH];   // [pixels, width]
};

}  // namespace

// Add to the gradients, from the errors that stand where the job has its output. Every thread has images of its own,
// and its gradient of the filters is added to the first one's in the end.
extern "C" void backward(const Job* job, const float* filters, float* to_input, float* to_filters, int64_t threads) {
  const std::vector<float> zeros(job->channels);
  const int64_t size = job->high * job->wide, numbers = job->outputs * job->filter;
  std::vector<std::vector<float>> others(job->images + 1);
  share(job->images * size, size, threads, [&](int64_t begin, int64_t end) {
    std::vector<float>& own = others[begin / size];
    if (begin > 0) own.resize(numbers);
    float* gradient = begin > 0 ? own.data() : to_filters;
    std::vector<Backward> workers;
    workers.reserve(job->part_count);
    for (int64_t part = 0; part < job->part_count; ++part)
      workers.emplace_back(*job, job->parts[part], zeros.data(), filters, to_input, gradient);
    for (; begin < end; begin += RANGE)
      for (Backward& worker : workers) worker.run(begin, std::min(begin + RANGE, end));
  });
  for (const std::vector<float>& own : others)
    for (size_t each = 0; each < own.size(); ++each) to_filters[each] += own[each];
}

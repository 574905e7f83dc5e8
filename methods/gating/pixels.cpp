// A convolution at some of its output pixels, in channels-last memory.
//
// Sums of PIXELS open pixels x WIDTH output channels stay in registers over everything that lies under the kernel.
// Inputs are read where they are: there is no column matrix and no padded copy. Weights are read in order, from panels
// of WIDTH output channels, or of LANES where no more share their gates. This is the register-blocked matrix product of
// Goto and van de Geijn (ACM TOMS 34(3), 2008), whose rows are the windows of open pixels.

#include "open_pixels.h"

namespace {

// Computes the outputs of one part.
class Forward final : public Worker {
 public:
  using Worker::Worker;

 private:
  void compute() override {
    float sums[PIXELS][WIDTH];
    for (int64_t index = part_.panel; index < part_.panel + part_.panels; ++index) {
      const Panel& panel = job_.panels[index];
      const auto add_up = panel.width() == WIDTH ? sum<PIXELS, 2> : sum<PIXELS, 1>;
      for (int64_t pixel = 0; pixel < count_; pixel += PIXELS) {
        add_up(segments_, part_.segments, &windows_[pixel * part_.segments], panel.shift, job_.weight + panel.weight,
               &sums[0][0]);
        for (int64_t each = 0; each < std::min<int64_t>(PIXELS, count_ - pixel); ++each)
          store(pixels_[pixel + each], panel, sums[each]);
      }
    }
  }

  // Put the sums of a pixel where its slices are open.
  void store(const Pixel& pixel, const Panel& panel, const float* sums) {
    const float* start = job_.adds ? pixel.output : job_.bias;
    for (int64_t channel = panel.first; channel < panel.last;) {
      const int64_t slice = channel / slice_, end = std::min(panel.last, (slice + 1) * slice_);
      if (has_slice(pixel, slice))
#pragma GCC ivdep
        for (int64_t each = channel; each < end; ++each) pixel.output[each] = start[each] + sums[each - panel.first];
      channel = end;
    }
  }
};

std::vector<Forward> workers(const Job* job, const float* zeros) {
  std::vector<Forward> found;
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

extern "C" int64_t lanes() { return LANES; }

// Put the weights of all panels where the job has them. A filter is [positions of the kernel, channels].
extern "C" void pack(const Job* job, const float* filters) {
  for (int64_t each = 0; each < job->part_count; ++each) {
    const Part& part = job->parts[each];
    for (int64_t index = part.panel; index < part.panel + part.panels; ++index) {
      const Panel& panel = job->panels[index];
      const int64_t width = panel.width();
      float* to = job->weight + panel.weight;
      for (int64_t under = part.segment; under < part.segment + part.segments; ++under) {
        const Segment& segment = job->segments[under];
        for (int64_t lane = 0; lane < width; ++lane) {
          const float* from = filters + (panel.first + lane) * job->filter + segment.tap + panel.shift;
          const bool is_there = panel.first + lane < panel.last;
          for (int64_t channel = 0; channel < segment.length; ++channel)
            to[channel * width + lane] = is_there ? from[channel] : 0;
        }
        to += width * segment.length;
      }
    }
  }
}

// Compute what is open, a share of the pixels in each thread; then, if there is more, open slices by what came out,
// where there are levels, and compute that too.
extern "C" void write(const Job* job, const Job* more, const float* levels, int64_t threads) {
  const std::vector<float> zeros(job->channels);
  share(job->images * job->high * job->wide, 1, threads, [&](int64_t begin, int64_t end) {
    std::vector<Forward> first = workers(job, zeros.data()), second = workers(more, zeros.data());
    for (; begin < end; begin += RANGE) {
      const int64_t last = std::min(begin + RANGE, end);
      for (Forward& worker : first) worker.run(begin, last);
      if (levels) decide(*more, levels, begin, last);
      for (Forward& worker : second) worker.run(begin, last);
    }
  });
}

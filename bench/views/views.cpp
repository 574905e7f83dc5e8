// Both views of a batch in one call, one view after another, so that its pixels stay in the first cache.
//
// Every operation is that of resample.py, pillow.py, blur.py or pixels.py, with the same roundings in the same order, or
// one of whole numbers that gives the same. So no product may be fused with a sum, for which kernel.py has the flag.
// Levels are whole numbers 0 to 255 in float32; loops over pixels are for the compiler to vectorise.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace {

// A row of the table: the columns that parameters.py makes, in their order.
struct View {
  float left, width, top, height, mirrored, hue_slot, hue_shift;
  float factor[3], is_contrast[3], is_saturation[3];
  float grey, solarised, blurred, middle, neighbour, beyond;
};
static_assert(sizeof(View) == 22 * sizeof(float), "a row has 22 columns");

// The fields, and their order, are those of kernel.py.
struct Batch {
  const uint8_t* images;  // [count, 3, side, side]
  const View* table;      // [count, 2]
  float* views;           // [2 x count, side, side, 3]: the second views come behind the first ones
  int64_t count, side;    // a power of two, at most 512
  int64_t blurs_last;
  float mean[3], deviation[3];
};

constexpr int JITTERS = 3, NO_JITTER = 5;
constexpr int BLUR_PASSES = 3, BLUR_BITS = 24;

constexpr uint16_t USUAL = 32;  // the side of CIFAR's images, for which rows are vectors
typedef uint8_t Row __attribute__((vector_size(USUAL)));
typedef uint16_t Sums __attribute__((vector_size(2 * USUAL)));

Row ordered(Row row, Row places) {
#ifdef __clang__
  Row found;
  for (int x = 0; x < USUAL; ++x) found[x] = row[places[x]];
  return found;
#else
  return __builtin_shuffle(row, places);
#endif
}

// Where outputs along an axis lie between two pixels. Weights are whole numbers of 1 / (2 side): `right` of the second
// pixel, and the rest of the first.
struct Taps {
  std::vector<int32_t> first, second, right;

  explicit Taps(int32_t side) : first(side), second(side), right(side) {}

  // tent() in whole numbers: output x of a stretch lies at ((2 x + 1) length - side) / (2 side).
  void set(int32_t start, int32_t length, bool is_mirrored, int bits) {
    const int32_t side = static_cast<int32_t>(first.size()), last = (length - 1) << bits;
    for (int32_t x = 0; x < side; ++x) {
      const int32_t forward = is_mirrored ? side - 1 - x : x;
      int32_t place = (2 * forward + 1) * length - side;
      place = place < 0 ? 0 : place < last ? place : last;
      first[x] = start + (place >> bits);
      right[x] = place & (2 * side - 1);
      second[x] = first[x] + (right[x] > 0);
    }
  }
};

// Makes one view at a time. SIDE: of the images, where the compiler is to know it; else 0.
template <int SIDE>
class Maker {
 public:
  explicit Maker(const Batch& batch)
      : batch_(batch),
        side_(static_cast<int32_t>(batch.side)),
        across_(side_),
        down_(side_),
        rows_(side_ * side_),
        planes_(3 * side_ * side_),
        whole_(side_ * side_),
        other_(side_ * side_) {
    while ((1 << bits_) < 2 * side_) ++bits_;
  }

  void make(int64_t image, int64_t which) {
    const View& view = batch_.table[2 * image + which];
    crop(batch_.images + image * 3 * pixels(), view);
    const int slot = static_cast<int>(view.hue_slot);
    if (slot < NO_JITTER) {
      for (int each = 0; each < JITTERS; ++each) {
        if (slot == each) turn_hue(view.hue_shift);
        jitter(view.factor[each], view.is_contrast[each] != 0, view.is_saturation[each] != 0);
      }
      if (slot == JITTERS) turn_hue(view.hue_shift);
    }
    if (view.grey != 0) lose_colour();
    if (view.blurred != 0 && !batch_.blurs_last) blur(view);
    if (view.solarised != 0) solarise();
    if (view.blurred != 0 && batch_.blurs_last) blur(view);
    normalise(batch_.views + (which * batch_.count + image) * 3 * pixels());
  }

 private:
  int32_t side() const { return SIDE != 0 ? SIDE : side_; }
  int32_t pixels() const { return side() * side(); }

  // Rows are stretched and rounded to bytes, then columns: floor(sum + 1/2) of sums of 1 / (2 side) is a shift.
  void crop(const uint8_t* image, const View& view) {
    const int32_t top = static_cast<int32_t>(view.top), height = static_cast<int32_t>(view.height);
    across_.set(static_cast<int32_t>(view.left), static_cast<int32_t>(view.width), view.mirrored != 0, bits_);
    down_.set(0, height, false, bits_);
    for (int channel = 0; channel < 3; ++channel) {
      const uint8_t* from = image + channel * pixels() + top * side();
      if constexpr (SIDE == USUAL) {
        stretch_vectors(from, height);
      } else {
        stretch_rows(from, height);
      }
      stretch_columns(planes_.data() + channel * pixels());
    }
  }

  void stretch_rows(const uint8_t* from, int32_t height) {
    uint8_t* to = rows_.data();
    for (int32_t y = 0; y < height; ++y, from += side(), to += side()) {
      for (int32_t x = 0; x < side(); ++x) {
        const int32_t right = across_.right[x], left = 2 * side() - right;
        const int32_t sum = from[across_.first[x]] * left + from[across_.second[x]] * right;
        to[x] = static_cast<uint8_t>((sum + side()) >> bits_);
      }
    }
  }

  void stretch_vectors(const uint8_t* from, int32_t height) {
    Row first, second;
    Sums left, right;
    for (int x = 0; x < USUAL; ++x) {
      first[x] = static_cast<uint8_t>(across_.first[x]);
      second[x] = static_cast<uint8_t>(across_.second[x]);
      left[x] = static_cast<uint16_t>(2 * USUAL - across_.right[x]);
      right[x] = static_cast<uint16_t>(across_.right[x]);
    }
    uint8_t* to = rows_.data();
    for (int32_t y = 0; y < height; ++y, from += USUAL, to += USUAL) {
      Row row;
      std::memcpy(&row, from, sizeof row);
      const Sums sums = __builtin_convertvector(ordered(row, first), Sums) * left +
                        __builtin_convertvector(ordered(row, second), Sums) * right + USUAL;
      row = __builtin_convertvector(sums >> bits_, Row);
      std::memcpy(to, &row, sizeof row);
    }
  }

  void stretch_columns(float* __restrict plane) const {
    for (int32_t y = 0; y < side(); ++y, plane += side()) {
      const uint8_t *above = rows_.data() + down_.first[y] * side(), *below = rows_.data() + down_.second[y] * side();
      const int32_t right = down_.right[y], left = 2 * side() - right;
      for (int32_t x = 0; x < side(); ++x) {
        plane[x] = static_cast<float>((above[x] * left + below[x] * right + side()) >> bits_);
      }
    }
  }

  static float grey_of(float red, float green, float blue) {
    const float luma = red * 19595 + green * 38470 + blue * 7471;  // below 2^24: exact
    return std::floor((luma + 32768) * (1.0f / 65536));
  }

  static float blended(float level, float against, float factor) {
    const float found = (level - against) * factor + against;
    return std::floor(found > 0 ? found < 255 ? found : 255 : 0);
  }

  void jitter(float factor, bool is_contrast, bool is_saturation) {
    float *__restrict red = planes_.data(), *__restrict green = red + pixels(), *__restrict blue = green + pixels();
    if (is_saturation) {
      for (int32_t each = 0; each < pixels(); ++each) {
        const float grey = grey_of(red[each], green[each], blue[each]);
        red[each] = blended(red[each], grey, factor);
        green[each] = blended(green[each], grey, factor);
        blue[each] = blended(blue[each], grey, factor);
      }
      return;
    }
    const float against = is_contrast ? mean_grey() : 0;
    for (int32_t each = 0; each < 3 * pixels(); ++each) red[each] = blended(red[each], against, factor);
  }

  float mean_grey() const {
    const float *red = planes_.data(), *green = red + pixels(), *blue = green + pixels();
    int32_t total = 0;
    for (int32_t each = 0; each < pixels(); ++each) {
      total += static_cast<int32_t>(grey_of(red[each], green[each], blue[each]));
    }
    return static_cast<float>(std::floor(static_cast<double>(total) / pixels() + 0.5));
  }

  void turn_hue(float shift) {
    float *__restrict reds = planes_.data(), *__restrict greens = reds + pixels();
    float* __restrict blues = greens + pixels();
    for (int32_t each = 0; each < pixels(); ++each) {
      const float red = reds[each], green = greens[each], blue = blues[each];
      const float larger = red > green ? red : green, smaller = red < green ? red : green;
      const float value = larger > blue ? larger : blue, least = smaller < blue ? smaller : blue;
      const float chroma = value - least;
      // Which channel is the greatest, at a tie the first; which of the other two is greater; and how far the middle
      // one is below the greatest.
      const bool is_red = red == value, is_green = green == value;
      const float difference = is_red ? green - blue : is_green ? blue - red : red - green;
      const float sector = is_red ? 0 : is_green ? 2 : 4;
      const float sign = difference > 0 ? 1 : difference < 0 ? -1 : 0;
      const float middle = (2 * value + least - (red + green + blue)) / (chroma > 1 ? chroma : 1);
      float hue = (sector + sign - middle * sign) / 6;
      hue = hue < 0 ? hue + 1 : hue;
      hue = std::floor(hue * 255) + shift;
      hue = 2 * (hue < 256 ? hue : hue - 256);
      const float saturation = std::floor(chroma / (value > 1 ? value : 1) * 255) * value;
      reds[each] = turned(value, saturation, 170 - std::fabs(hue - 255));
      greens[each] = turned(value, saturation, std::fabs(hue - 170) - 85);
      blues[each] = turned(value, saturation, std::fabs(hue - 340) - 85);
    }
  }

  // The product with 1 / 21675 leaves the level that a division does, for all weights 0 to 85, saturations and values.
  static float turned(float value, float saturation, float weight) {
    const float bounded = weight > 0 ? weight < 85 ? weight : 85 : 0;
    return std::floor(value - bounded * saturation * (1.0f / 21675) + 0.5f);
  }

  void lose_colour() {
    float *__restrict red = planes_.data(), *__restrict green = red + pixels(), *__restrict blue = green + pixels();
    for (int32_t each = 0; each < pixels(); ++each) {
      red[each] = green[each] = blue[each] = grey_of(red[each], green[each], blue[each]);
    }
  }

  void solarise() {
    float* levels = planes_.data();
    for (int32_t each = 0; each < 3 * pixels(); ++each) {
      levels[each] = levels[each] < 128 ? levels[each] : 255 - levels[each];
    }
  }

  // A box along x three times, then along y. Weights are whole numbers of 2^-24, whose sums stay below 2^32.
  void blur(const View& view) {
    for (int channel = 0; channel < 3; ++channel) {
      float* plane = planes_.data() + channel * pixels();
      for (int32_t each = 0; each < pixels(); ++each) whole_[each] = static_cast<uint32_t>(plane[each]);
      for (int pass = 0; pass < BLUR_PASSES; ++pass) blur_once(view, 1);
      for (int pass = 0; pass < BLUR_PASSES; ++pass) blur_once(view, side());
      for (int32_t each = 0; each < pixels(); ++each) plane[each] = static_cast<float>(whole_[each]);
    }
  }

  // `step` pixels lie between neighbours. Beyond the border, its own pixel counts.
  void blur_once(const View& view, int32_t step) {
    const uint32_t middle = static_cast<uint32_t>(view.middle), neighbour = static_cast<uint32_t>(view.neighbour);
    const uint32_t beyond = static_cast<uint32_t>(view.beyond), last = side() - 1;
    const uint32_t* from = whole_.data();
    for (int32_t y = 0; y < side(); ++y) {
      for (int32_t x = 0; x < side(); ++x) {
        const int32_t here = y * side() + x, before = step == 1 ? x : y, behind = last - before;
        const int32_t back = before < 1 ? 0 : step, far_back = before < 2 ? before * step : 2 * step;
        const int32_t on = behind < 1 ? 0 : step, far_on = behind < 2 ? behind * step : 2 * step;
        const uint32_t sum = from[here] * middle + (from[here - back] + from[here + on]) * neighbour +
                             (from[here - far_back] + from[here + far_on]) * beyond;
        other_[here] = (sum + (1u << (BLUR_BITS - 1))) >> BLUR_BITS;
      }
    }
    std::swap(whole_, other_);
  }

  void normalise(float* __restrict out) const {
    const float *red = planes_.data(), *green = red + pixels(), *blue = green + pixels();
    for (int32_t each = 0; each < pixels(); ++each) {
      out[3 * each] = normal(red[each], 0);
      out[3 * each + 1] = normal(green[each], 1);
      out[3 * each + 2] = normal(blue[each], 2);
    }
  }

  float normal(float level, int channel) const {
    return (level * (1.0f / 255) - batch_.mean[channel]) / batch_.deviation[channel];
  }

  const Batch& batch_;
  const int32_t side_;
  int bits_ = 0;  // of 2 x side
  Taps across_, down_;
  std::vector<uint8_t> rows_;  // of a channel
  std::vector<float> planes_;  // [3, side x side]
  std::vector<uint32_t> whole_, other_;
};

template <int SIDE>
void make_all(const Batch& batch) {
  Maker<SIDE> maker(batch);
  for (int64_t image = 0; image < batch.count; ++image) {
    for (int64_t which = 0; which < 2; ++which) maker.make(image, which);
  }
}

// Means of squares of STEP x STEP pixels, `out` in a row, added up line by line.
template <int STEP>
void reduce_all(const float* from, float* __restrict to, int64_t rows, int64_t out) {
  for (int64_t row = 0; row < rows; ++row, from += 3 * STEP * STEP * out, to += 3 * out) {
    for (int64_t place = 0; place < out; ++place) {
      for (int channel = 0; channel < 3; ++channel) {
        float sum = 0;
        for (int y = 0; y < STEP; ++y) {
          for (int x = 0; x < STEP; ++x) sum += from[3 * ((y * out + place) * STEP + x) + channel];
        }
        to[3 * place + channel] = sum / (STEP * STEP);
      }
    }
  }
}

}  // namespace

extern "C" void make_views(const Batch* batch) { batch->side == USUAL ? make_all<USUAL>(*batch) : make_all<0>(*batch); }

// Both channels-last: [rows x step, out x step, 3] -> [rows, out, 3], for steps of 2 and 4.
extern "C" void reduce(const float* from, float* to, int64_t rows, int64_t out, int64_t step) {
  step == 2 ? reduce_all<2>(from, to, rows, out) : reduce_all<4>(from, to, rows, out);
}

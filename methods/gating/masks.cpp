// Which pixels a block keeps, from what every pixel gives to each position of a window of 3 x 3, and to its whole image.

#include <cstdint>

namespace {

constexpr int SIDE = 3, PRODUCTS = SIDE * SIDE + 1;

}  // namespace

// Open the pixels whose logit is at least the level. Products are [images, height, width, PRODUCTS], the image's last.
extern "C" void mask(const float* products, uint8_t* is_open, float level, int64_t images, int64_t height,
                     int64_t width, int64_t high, int64_t wide, int64_t down, int64_t across) {
  for (int64_t image = 0; image < images; ++image, products += height * width * PRODUCTS) {
    float whole = 0;
    for (int64_t place = 0; place < height * width; ++place) whole += products[place * PRODUCTS + PRODUCTS - 1];
    whole /= height * width;
    for (int64_t row = 0; row < high; ++row)
      for (int64_t column = 0; column < wide; ++column) {
        float logit = whole;
        for (int64_t tap = 0; tap < SIDE * SIDE; ++tap) {
          const int64_t y = row * down + tap / SIDE - 1, x = column * across + tap % SIDE - 1;
          if (0 <= y && y < height && 0 <= x && x < width) logit += products[(y * width + x) * PRODUCTS + tap];
        }
        *is_open++ = logit >= level;
      }
  }
}

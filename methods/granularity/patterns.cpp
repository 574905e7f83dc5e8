// N:M masks of scores that lie channels-last: [outputs, kernel positions, inputs].

#include <cstdint>

// All masks of a block: a choice is n places in a row, and a mask one choice for each of its rows.
struct Masks {
  const int64_t *choices, *rows;
  int64_t choice_count, count, n;
};

namespace {

constexpr int64_t LANES = 16;   // groups, or blocks, at once
constexpr int64_t CHOICES = 6;  // ways to keep n of m places, at most

// Return whether scores are finite: x - x is 0 for such, and for no other.
bool are_finite(const float* scores, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t place = 0; place < count; ++place) sum += scores[place] - scores[place];
  return sum == 0;
}

template <int M>
void highest(const float* scores, uint8_t* kept, int64_t groups, int64_t n) {
  for (int64_t first = 0; first < groups; first += LANES, scores += LANES * M, kept += LANES * M) {
    const int64_t lanes = groups - first < LANES ? groups - first : LANES;
    float mine[M][LANES] = {}, ahead[M][LANES] = {};
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int place = 0; place < M; ++place) mine[place][lane] = scores[lane * M + place];
    for (int one = 0; one < M; ++one)
      for (int other = one + 1; other < M; ++other)
#pragma omp simd
        for (int64_t lane = 0; lane < LANES; ++lane) {
          const float wins = mine[one][lane] >= mine[other][lane] ? 1 : 0;
          ahead[other][lane] += wins;
          ahead[one][lane] += 1 - wins;
        }
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int place = 0; place < M; ++place) kept[lane * M + place] = ahead[place][lane] < n;
  }
}

template <int M>
void best(const float* scores, uint8_t* kept, const Masks& masks, int64_t outputs, int64_t groups) {
  for (int64_t first = 0; first < outputs; first += M, scores += M * groups * M, kept += M * groups * M)
    for (int64_t group = 0; group < groups; group += LANES) {
      const int64_t lanes = groups - group < LANES ? groups - group : LANES;
      double sums[M][CHOICES][LANES] = {}, most[LANES] = {};
      int64_t found[LANES] = {};
      for (int row = 0; row < M; ++row) {
        double mine[M][LANES] = {};
        for (int64_t lane = 0; lane < lanes; ++lane)
          for (int place = 0; place < M; ++place) mine[place][lane] = scores[(row * groups + group + lane) * M + place];
        for (int64_t choice = 0; choice < masks.choice_count; ++choice)
          for (int64_t one = 0; one < masks.n; ++one)
#pragma omp simd
            for (int64_t lane = 0; lane < LANES; ++lane)
              sums[row][choice][lane] += mine[masks.choices[choice * masks.n + one]][lane];
      }
      for (int64_t mask = 0; mask < masks.count; ++mask) {
        const int64_t* chosen = masks.rows + mask * M;
#pragma omp simd
        for (int64_t lane = 0; lane < LANES; ++lane) {
          double sum = 0;
          for (int row = 0; row < M; ++row) sum += sums[row][chosen[row]][lane];
          const bool is_better = mask == 0 || sum > most[lane];
          found[lane] = is_better ? mask : found[lane];
          most[lane] = is_better ? sum : most[lane];
        }
      }
      for (int row = 0; row < M; ++row)
        for (int64_t lane = 0; lane < lanes; ++lane) {
          uint8_t* mine = kept + (row * groups + group + lane) * M;
          for (int place = 0; place < M; ++place) mine[place] = 0;
          const int64_t* choice = masks.choices + masks.rows[found[lane] * M + row] * masks.n;
          for (int64_t one = 0; one < masks.n; ++one) mine[choice[one]] = 1;
        }
    }
}

}  // namespace

// Keep the n highest of every m neighbours, of equal ones the first. Return whether all scores are finite.
extern "C" int64_t along_inputs(const float* scores, uint8_t* kept, int64_t groups, int64_t n, int64_t m) {
  if (m == 2) highest<2>(scores, kept, groups, n);
  if (m == 4) highest<4>(scores, kept, groups, n);
  if (m == 8) highest<8>(scores, kept, groups, n);
  if (m == 16) highest<16>(scores, kept, groups, n);
  return are_finite(scores, groups * m);
}

// Keep, of every m outputs x m inputs at a position, what the mask with the highest sum keeps, of equal sums the first.
// Return whether all scores are finite.
extern "C" int64_t along_both(const float* scores, uint8_t* kept, const Masks* masks, int64_t outputs, int64_t groups,
                              int64_t m) {
  if (m == 2) best<2>(scores, kept, *masks, outputs, groups);
  if (m == 3) best<3>(scores, kept, *masks, outputs, groups);
  if (m == 4) best<4>(scores, kept, *masks, outputs, groups);
  return are_finite(scores, outputs * groups * m);
}

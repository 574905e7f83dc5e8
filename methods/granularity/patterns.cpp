// N:M masks of the largest weights, which lie channels-last: [outputs, kernel positions, inputs].

#include <cmath>
#include <cstdint>
#include <cstring>

// What a row of a block can keep, and what its columns need; `transposable.py` says what each table is.
struct Tables {
  const int64_t* choices;   // [choice_count, n]
  const uint8_t* ones;      // [choice_count, m]: the same as a mask
  const int64_t* needs;     // [m]: how many there are at a row
  const int64_t* stages;    // [needs of all rows, choice_count]
  int64_t choice_count, n;
};

namespace {

constexpr int64_t GROUPS = 16;             // at once
constexpr int64_t CHOICES = 6, NEEDS = 19;  // at most, of all N:M that are built: for 2:4

#ifdef __AVX512F__
constexpr int64_t BLOCKS = 8;  // at once
#else
constexpr int64_t BLOCKS = 4;
#endif

// A number for each block. Unlike arrays, compilers hold these in registers.
using Sums = double __attribute__((vector_size(BLOCKS * sizeof(double))));
using Places = int64_t __attribute__((vector_size(BLOCKS * sizeof(int64_t))));

// Return whether weights are finite: x - x is 0 for such, and for no other.
bool are_finite(const float* weights, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t place = 0; place < count; ++place) sum += weights[place] - weights[place];
  return sum == 0;
}

template <int M>
void highest(const float* weights, uint8_t* kept, int64_t groups, int64_t n) {
  for (int64_t first = 0; first < groups; first += GROUPS, weights += GROUPS * M, kept += GROUPS * M) {
    const int64_t lanes = groups - first < GROUPS ? groups - first : GROUPS;
    float mine[M][GROUPS] = {}, ahead[M][GROUPS] = {};
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int place = 0; place < M; ++place) mine[place][lane] = std::fabs(weights[lane * M + place]);
    for (int one = 0; one < M; ++one)
      for (int other = one + 1; other < M; ++other)
#pragma omp simd
        for (int64_t lane = 0; lane < GROUPS; ++lane) {
          const float wins = mine[one][lane] >= mine[other][lane] ? 1 : 0;
          ahead[other][lane] += wins;
          ahead[one][lane] += 1 - wins;
        }
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int place = 0; place < M; ++place) kept[lane * M + place] = ahead[place][lane] < n;
  }
}

// Magnitudes of a row of some blocks, summed for each choice. Missing blocks count as zeros.
template <int M>
void add_up(const float* weights, int64_t blocks, const Tables& tables, Sums* sums) {
  float near[BLOCKS * M] = {};
  std::memcpy(near, weights, (blocks < BLOCKS ? blocks : BLOCKS) * M * sizeof(float));
  Sums mine[M];
  for (int place = 0; place < M; ++place)
    for (int64_t block = 0; block < BLOCKS; ++block) mine[place][block] = std::fabs(near[block * M + place]);
  for (int64_t choice = 0; choice < tables.choice_count; ++choice) {
    const int64_t* places = tables.choices + choice * tables.n;
    sums[choice] = mine[places[0]];
    for (int64_t one = 1; one < tables.n; ++one) sums[choice] += mine[places[one]];
  }
}

template <int M>
void best(const float* weights, uint8_t* kept, const Tables& tables, int64_t outputs, int64_t groups) {
  const int64_t choice_count = tables.choice_count;
  const int64_t* stages[M] = {tables.stages};
  for (int row = 1; row < M; ++row) stages[row] = stages[row - 1] + tables.needs[row - 1] * choice_count;
  for (int64_t first = 0; first < outputs; first += M, weights += M * groups * M, kept += M * groups * M)
    for (int64_t group = 0; group < groups; group += BLOCKS) {
      Sums rest[M + 1][NEEDS];  // the highest sums of this row and those below
      Places taken[M][NEEDS];
      rest[M][0] = Sums{};
      for (int row = M - 1; row >= 0; --row) {
        Sums sums[CHOICES];
        add_up<M>(weights + (row * groups + group) * M, groups - group, tables, sums);
        for (int64_t need = 0; need < tables.needs[row]; ++need) {
          const int64_t* after = stages[row] + need * choice_count;
          int64_t choice = 0;
          while (after[choice] < 0) ++choice;
          Sums most = sums[choice] + rest[row + 1][after[choice]];
          Places found = Places{} + choice;
          while (++choice < choice_count) {
            if (after[choice] < 0) continue;
            const Sums sum = sums[choice] + rest[row + 1][after[choice]];
            const Places is_better = sum > most;
            most = is_better ? sum : most;
            found = is_better ? Places{} + choice : found;
          }
          rest[row][need] = most;
          taken[row][need] = found;
        }
      }
      for (int64_t block = 0; block < BLOCKS && group + block < groups; ++block)
        for (int64_t row = 0, need = 0; row < M; ++row) {
          const int64_t choice = taken[row][need][block];
          std::memcpy(kept + (row * groups + group + block) * M, tables.ones + choice * M, M);
          need = stages[row][need * choice_count + choice];
        }
    }
}

}  // namespace

// Keep the n largest of every m neighbours, of equal ones the first. Return whether all weights are finite.
extern "C" int64_t along_inputs(const float* weights, uint8_t* kept, int64_t groups, int64_t n, int64_t m) {
  if (m == 2) highest<2>(weights, kept, groups, n);
  if (m == 4) highest<4>(weights, kept, groups, n);
  if (m == 8) highest<8>(weights, kept, groups, n);
  if (m == 16) highest<16>(weights, kept, groups, n);
  return are_finite(weights, groups * m);
}

// Keep, of every m outputs x m inputs at a position, what the mask with the highest sum of magnitudes keeps, of equal
// sums the first. Return whether all weights are finite.
extern "C" int64_t along_both(const float* weights, uint8_t* kept, const Tables* tables, int64_t outputs,
                              int64_t groups, int64_t m) {
  if (m == 2) best<2>(weights, kept, *tables, outputs, groups);
  if (m == 3) best<3>(weights, kept, *tables, outputs, groups);
  if (m == 4) best<4>(weights, kept, *tables, outputs, groups);
  return are_finite(weights, outputs * groups * m);
}

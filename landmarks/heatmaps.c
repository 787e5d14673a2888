/* `decode` of landmarks/codec.py for the decoder "topk", where every function has its twin in NumPy. Points have the same
   bits: where they come from, operations and their order are the same, and none may be fused (-ffp-contract=off). Loops of
   LANES or `width` steps are those that compilers turn into vector instructions. */

#include <float.h>
#include <math.h>
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

/* A function compiled for several generations of processors, where the compiler and the C library choose among them. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_CPU
#endif

enum { LANES = 16, BANDS = 4, GROUPS = BANDS * LANES, MAX_WINDOW = 32 };

static inline float larger(float a, float b) { return a > b ? a : b; }

static inline void clear(int64_t n, float *values)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = -FLT_MAX;
}

/* Where the k largest are kept, largest first: of equal ones, the first that came. */
static inline void insert(float logit, int64_t cell, int64_t k, float *logits, int64_t *cells)
{
    int64_t i = k - 1;
    for (; i > 0 && logits[i - 1] < logit; i--) {
        logits[i] = logits[i - 1];
        cells[i] = cells[i - 1];
    }
    logits[i] = logit;
    cells[i] = cell;
}

/* Replaces maxima[LANES] by what is larger among the n values that follow one another in it. */
static inline void raise(const float *values, int64_t n, float *maxima)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            maxima[j] = larger(values[i + j], maxima[j]);
    for (int j = 0; i < n; i++, j++)
        maxima[j] = larger(values[i], maxima[j]);
}

/* The k strongest cells of a map; 0 where fewer than k logits are finite.

   Its cells form GROUPS groups such that neighbours belong to different ones. The k-th largest of the groups' maxima is a
   bar that k cells reach at least, and few more do, because the strongest cells are neighbours. */
static int strongest_cells(const float *map, int64_t rows, int64_t columns, int64_t k, float *logits, int64_t *cells)
{
    const int64_t size = rows * columns, band = BANDS * columns;
    float maxima[GROUPS];

    clear(GROUPS, maxima);
    for (int64_t row = 0; row < rows; row++)
        raise(map + row * columns, columns, maxima + row % BANDS * LANES);
    clear(k, logits);
    for (int i = 0; i < GROUPS; i++)
        if (maxima[i] > logits[k - 1])
            insert(maxima[i], 0, k, logits, cells);
    const float bar = logits[k - 1];

    clear(k, logits);
    for (int64_t start = 0; start < size; start += band) {
        const int64_t end = start + band < size ? start + band : size;
        clear(LANES, maxima);
        raise(map + start, end - start, maxima);
        for (int j = 1; j < LANES; j++)
            maxima[0] = larger(maxima[j], maxima[0]);
        if (maxima[0] < bar)
            continue;
        for (int64_t i = start; i < end; i++)
            if (map[i] >= bar && map[i] > logits[k - 1])
                insert(map[i], i, k, logits, cells);
    }
    return logits[k - 1] > -FLT_MAX;
}

/* As `exponential` of landmarks/decoders.py, to the bit. */
static inline double exponential(double x)
{
    static const double inverse[] = {0, 1., 1 / 2., 1 / 3., 1 / 4., 1 / 5., 1 / 6., 1 / 7., 1 / 8.};
    const int64_t n = (int64_t)((x > -700 ? x : -700) * 1.4426950408889634 - 0.5);
    const double f = (x > -700 ? x : -700) - (double)n * 0.6931471805599453;
    const union { int64_t bits; double value; } power = {(n + 1023) << 52};
    double sum = 1;
    for (int i = 8; i > 0; i--)
        sum = 1 + f * inverse[i] * sum;
    return power.value * sum;
}

/* The same in single precision: within 2e-7 of its value, and 0 below -88. */
static inline float single_exponential(float x)
{
    x = larger(x, -88.0f);
    const int32_t n = (int32_t)(x * 1.44269504f - 0.5f);
    const float f = x - (float)n * 0.693147181f;
    const union { int32_t bits; float value; } power = {(n + 127) << 23};
    const float tail = 1 / 6.0f + f * (1 / 24.0f + f * (1 / 120.0f + f * (1 / 720.0f)));
    return power.value * (1 + f * (1 + f * (1 / 2.0f + f * tail)));
}

/* The mean u of the k strongest cells, weighted by a softmax over them. Returns the sum of their weights. */
static double topk_mean(const float *logits, const int64_t *cells, int64_t k, int64_t columns, double u[2])
{
    double mass = 0, x = 0, y = 0;
    for (int64_t i = 0; i < k; i++) {
        const double weight = exponential((double)(logits[i] - logits[0]));
        mass += weight;
        x += weight * (double)(cells[i] % columns);
        y += weight * (double)(cells[i] / columns);
    }
    u[0] = x / mass;
    u[1] = y / mass;
    return mass;
}

static inline int64_t window_start(int64_t peak, int64_t width, int64_t cells)
{
    const int64_t start = peak - width / 2;
    return start < 0 ? 0 : start > cells - width ? cells - width : start;
}

/* Second moments xx, xy and yy about u of the probability in the window around a map's peak. Returns the sum of the
   probability over the peak's, 0 where a logit is not finite. */
FOR_EACH_CPU
static double window_moments(const float *map, int64_t rows, int64_t columns, int64_t width, int64_t peak,
                             const double u[2], double moments[3])
{
    const int64_t left = window_start(peak % columns, width, columns);
    const int64_t top = window_start(peak / columns, width, rows);
    const float *window = map + top * columns + left;
    float weights[MAX_WINDOW * MAX_WINDOW], checks[MAX_WINDOW] = {0};
    float w[MAX_WINDOW] = {0}, wy[MAX_WINDOW] = {0}, wyy[MAX_WINDOW] = {0};

    for (int64_t y = 0; y < width; y++)
        for (int64_t x = 0; x < width; x++) {
            weights[y * width + x] = window[y * columns + x] - map[peak];
            checks[x] += weights[y * width + x];
        }
    for (int64_t i = 0; i < width * width; i++)
        weights[i] = single_exponential(weights[i]);
    for (int64_t y = 0; y < width; y++) {
        const float dy = (float)((double)(top + y) - u[1]);
        for (int64_t x = 0; x < width; x++) {
            const float weight = weights[y * width + x];
            w[x] += weight;
            wy[x] += weight * dy;
            wyy[x] += weight * dy * dy;
        }
    }
    double mass = 0, xx = 0, xy = 0, yy = 0, check = 0;
    for (int64_t x = 0; x < width; x++) {
        check += checks[x];
        const double dx = (double)(left + x) - u[0];
        mass += w[x];
        xx += w[x] * dx * dx;
        xy += wy[x] * dx;
        yy += wyy[x];
    }
    moments[0] = xx / mass;
    moments[1] = xy / mass;
    moments[2] = yy / mass;
    return -DBL_MAX <= check && check <= DBL_MAX ? mass : 0;
}

/* Second moments of a face's maps in crop pixels squared -> covariances [points, 2, 2]. */
static void calibrate(const double *moments, int64_t points, const double *scales, double floor, double power,
                      double minimum, double stride, float *covariances)
{
    double logs = 0;
    for (int64_t p = 0; p < points; p++) {
        const double *m = moments + 3 * p, determinant = (m[0] + floor) * (m[2] + floor) - m[1] * m[1];
        logs += log(determinant > minimum ? determinant : minimum);
    }
    const double factor = pow(exp(logs / (double)points / 4) / stride, power);
    for (int64_t p = 0; p < points; p++, moments += 3, covariances += 4) {
        covariances[0] = (float)(factor * scales[p] * (moments[0] + floor));
        covariances[1] = covariances[2] = (float)(factor * scales[p] * moments[1]);
        covariances[3] = (float)(factor * scales[p] * (moments[2] + floor));
    }
}

/* Maps [faces, points, rows, columns] -> crop pixels [faces, points, 2], scores [faces, points] and covariances [faces,
   points, 2, 2]. 1 <= k <= GROUPS; 1 <= width <= MAX_WINDOW; `scales` [points], floor, power and the minimum of
   determinants are those of the calibration; `moments` [points, 3] is overwritten.

   Returns 0 where logits that are not finite keep it from that. */
EXPORT int decode(const float *maps, int64_t faces, int64_t points, int64_t rows, int64_t columns, int64_t k, int64_t width,
                  double stride, double offset, const double *scales, double floor, double power, double minimum,
                  double *moments, float *pixels, float *scores, float *covariances)
{
    for (int64_t face = 0; face < faces; face++, covariances += 4 * points) {
        for (int64_t p = 0; p < points; p++, maps += rows * columns, pixels += 2, scores++) {
            float logits[GROUPS];
            int64_t cells[GROUPS];
            double u[2], *m = moments + 3 * p;
            if (!strongest_cells(maps, rows, columns, k, logits, cells))
                return 0;
            const double weight = topk_mean(logits, cells, k, columns, u);
            const double mass = window_moments(maps, rows, columns, width, cells[0], u, m);
            if (mass == 0)
                return 0;
            scores[0] = (float)(weight < mass ? weight / mass : 1);
            for (int i = 0; i < 2; i++)
                pixels[i] = (float)(u[i] * stride + offset);
            for (int i = 0; i < 3; i++)
                m[i] *= stride * stride;
        }
        calibrate(moments, points, scales, floor, power, minimum, stride, covariances);
    }
    return 1;
}

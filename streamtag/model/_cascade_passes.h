/* Vector code of _cascade.c, compiled once per instruction set; NAME(x) gives each copy its own names.

   LANES rows are transformed at once: a complex point is two vectors, its real and its imaginary parts. */

/* One butterfly of radix r of a Stockham transform: x[q + s(p + m j)] -> y[q + s(r p + k)], times w^(p k). */
#define LOAD(j) const vec a##j = x[2 * (q + s * (p + m * (j)))], b##j = x[2 * (q + s * (p + m * (j))) + 1]
#define STORE(k, real, imag)                                                                                           \
    do {                                                                                                               \
        const vec u = (real), v = (imag);                                                                              \
        vec *const out = y + 2 * (q + s * (r * p + (k)));                                                              \
        if ((k) == 0 || p == 0) {                                                                                      \
            out[0] = u;                                                                                                \
            out[1] = v;                                                                                                \
        } else {                                                                                                       \
            const complex_t f = w[(r - 1) * p + (k) - 1];                                                              \
            out[0] = u * f.re - v * f.im;                                                                              \
            out[1] = u * f.im + v * f.re;                                                                              \
        }                                                                                                              \
    } while (0)

INLINE void NAME(radix2)(int m, int s, int p, int q, const complex_t *w, const vec *x, vec *y) {
    enum { r = 2 };
    LOAD(0);
    LOAD(1);
    STORE(0, a0 + a1, b0 + b1);
    STORE(1, a0 - a1, b0 - b1);
}

INLINE void NAME(radix3)(int m, int s, int p, int q, const complex_t *w, const vec *x, vec *y) {
    enum { r = 3 };
    const float sine = 0.86602540378443864676f; /* of 2 pi / 3 */
    LOAD(0);
    LOAD(1);
    LOAD(2);
    const vec sr = a1 + a2, si = b1 + b2, dr = (b1 - b2) * sine, di = (a2 - a1) * sine;
    const vec hr = a0 - sr * 0.5f, hi = b0 - si * 0.5f;
    STORE(0, a0 + sr, b0 + si);
    STORE(1, hr + dr, hi + di);
    STORE(2, hr - dr, hi - di);
}

INLINE void NAME(radix4)(int m, int s, int p, int q, const complex_t *w, const vec *x, vec *y) {
    enum { r = 4 };
    LOAD(0);
    LOAD(1);
    LOAD(2);
    LOAD(3);
    const vec er = a0 + a2, ei = b0 + b2, fr = a0 - a2, fi = b0 - b2;
    const vec gr = a1 + a3, gi = b1 + b3, hr = b1 - b3, hi = a3 - a1;
    STORE(0, er + gr, ei + gi);
    STORE(1, fr + hr, fi + hi);
    STORE(2, er - gr, ei - gi);
    STORE(3, fr - hr, fi - hi);
}

INLINE void NAME(radix5)(int m, int s, int p, int q, const complex_t *w, const vec *x, vec *y) {
    enum { r = 5 };
    const float c1 = 0.30901699437494742410f, s1 = 0.95105651629515357212f;  /* of 2 pi / 5 */
    const float c2 = -0.80901699437494742410f, s2 = 0.58778525229247312917f; /* of 4 pi / 5 */
    LOAD(0);
    LOAD(1);
    LOAD(2);
    LOAD(3);
    LOAD(4);
    const vec pr = a1 + a4, pi = b1 + b4, tr = a1 - a4, ti = b1 - b4;
    const vec qr = a2 + a3, qi = b2 + b3, ur = a2 - a3, ui = b2 - b3;
    const vec er = a0 + pr * c1 + qr * c2, ei = b0 + pi * c1 + qi * c2;
    const vec fr = a0 + pr * c2 + qr * c1, fi = b0 + pi * c2 + qi * c1;
    const vec gr = ti * s1 + ui * s2, gi = tr * s1 + ur * s2;
    const vec hr = ti * s2 - ui * s1, hi = tr * s2 - ur * s1;
    STORE(0, a0 + pr + qr, b0 + pi + qi);
    STORE(1, er + gr, ei - gi);
    STORE(2, fr + hr, fi - hi);
    STORE(3, fr - hr, fi + hi);
    STORE(4, er - gr, ei + gi);
}

/* All butterflies of a pass: those of p = 0 need no factors. */
#define PASS(radix)                                                                                                    \
    do {                                                                                                               \
        for (int q = 0; q < s; q++)                                                                                    \
            NAME(radix)(m, s, 0, q, w, x, y);                                                                          \
        for (int p = 1; p < m; p++)                                                                                    \
            for (int q = 0; q < s; q++)                                                                                \
                NAME(radix)(m, s, p, q, w, x, y);                                                                      \
    } while (0)

/* Transform LANES rows; both buffers are overwritten. Return the one with the result. */
static vec *NAME(transform)(const Transform *t, vec *x, vec *y) {
    const complex_t *w = t->factors;
    int m = t->size, s = 1;
    for (int pass = 0; pass < t->passes; pass++) {
        const int r = t->radices[pass];
        m /= r;
        switch (r) {
        case 2: PASS(radix2); break;
        case 3: PASS(radix3); break;
        case 4: PASS(radix4); break;
        case 5: PASS(radix5); break;
        }
        w += (r - 1) * m;
        s *= r;
        vec *const result = y;
        y = x;
        x = result;
    }
    return x;
}

/* Exchange rows and columns of 8 vectors. */
INLINE void NAME(transpose)(vec *v) {
    vec t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = SHUFFLE(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        t[i + 1] = SHUFFLE(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            u[i + 2 * j] = SHUFFLE(t[i + j], t[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            u[i + 2 * j + 1] = SHUFFLE(t[i + j], t[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        v[i] = SHUFFLE(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        v[i + 4] = SHUFFLE(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Write the first `count` floats of a vector. */
INLINE void NAME(store)(void *out, int count, const vec *values) {
    if (count == LANES)
        *(loose_vec *)out = *values;
    else
        memcpy(out, values, sizeof(float) * (size_t)count);
}

/* Bin k of LANES real rows, from the spectrum x of their complex points; the result is two vectors. X = E + w O with
   the spectra of the even points E and the odd ones O, and w = exp(-i pi k / half). */
INLINE void NAME(untangle)(const RealTransform *t, const vec *x, int k, vec *bin) {
    const vec *const one = x + 2 * k, *const other = x + 2 * (t->half.size - k);
    const complex_t w = t->untangle[k];
    const vec er = one[0] + other[0], ei = one[1] - other[1];
    const vec or = one[1] + other[1], oi = other[0] - one[0];
    bin[0] = (er + or * w.re - oi * w.im) * 0.5f;
    bin[1] = (ei + or * w.im + oi * w.re) * 0.5f;
}

/* Transform real rows, whose successive points make up a complex one. Return the spectrum, with its first bin again at
   its end. */
INLINE vec *NAME(transform_real)(const RealTransform *t, vec *rows, vec *buffer) {
    vec *const x = NAME(transform)(&t->half, rows, buffer);
    x[2 * t->half.size] = x[0];
    x[2 * t->half.size + 1] = x[1];
    return x;
}

/* Write the spectra of LANES real rows of 2 x half points, `lanes` of them in use, to out[lane]. The rows are
   overwritten. */
static void NAME(spectra)(const RealTransform *t, vec *rows, vec *buffer, int lanes, complex_t *const *out) {
    const int half = t->half.size;
    const vec *const x = NAME(transform_real)(t, rows, buffer);
    for (int start = 0; start <= half; start += 4) {
        const int count = half + 1 - start < 4 ? half + 1 - start : 4;
        vec bins[8];
        for (int i = 0; i < 4; i++)
            NAME(untangle)(t, x, start + (i < count ? i : 0), bins + 2 * i);
        NAME(transpose)(bins);
        for (int lane = 0; lane < lanes; lane++)
            NAME(store)(out[lane] + start, 2 * count, &bins[lane]);
    }
}

/* Replace a[0..3] by their transform. */
INLINE void NAME(four)(vec *re, vec *im, int step) {
    const vec ar = re[0] + re[2 * step], ai = im[0] + im[2 * step], br = re[0] - re[2 * step], bi = im[0] - im[2 * step];
    const vec cr = re[step] + re[3 * step], ci = im[step] + im[3 * step];
    const vec dr = re[step] - re[3 * step], di = im[step] - im[3 * step];
    re[0] = ar + cr, im[0] = ai + ci;
    re[step] = br + di, im[step] = bi - dr;
    re[2 * step] = ar - cr, im[2 * step] = ai - ci;
    re[3 * step] = br - di, im[3 * step] = bi + dr;
}

/* Write the spectrum of one row of `count` samples, silent after that, from frequency zero to Nyquist: every eighth sample
   makes up a row of its own, and transforms of eight values join their spectra. */
static void NAME(window_spectrum)(const WindowTransform *t, const float *samples, int count, vec *x, vec *y,
                                  complex_t *out) {
    const int half = t->lanes.half.size, size = 2 * half, stride = (half / LANES + 1) * LANES;
    for (int n = 0; n < size; n++) {
        const int left = count - n * LANES;
        if (left >= LANES)
            x[n] = *(const loose_vec *)(samples + n * LANES);
        else {
            vec rest = {0};
            for (int i = 0; i < left; i++)
                rest[i] = samples[n * LANES + i];
            x[n] = rest;
        }
    }
    const vec *const spectra = NAME(transform_real)(&t->lanes, x, y);
    for (int start = 0; start <= half; start += LANES) {
        const int used = half + 1 - start < LANES ? half + 1 - start : LANES;
        vec re[LANES], im[LANES];
        for (int i = 0; i < LANES; i++) {
            vec bin[2];
            NAME(untangle)(&t->lanes, spectra, start + (i < used ? i : 0), bin);
            re[i] = bin[0];
            im[i] = bin[1];
        }
        NAME(transpose)(re);
        NAME(transpose)(im);
        for (int j = 1; j < LANES; j++) {
            const vec c = *(const loose_vec *)(t->turns + j * stride + start);
            const vec d = *(const loose_vec *)(t->turns + (LANES + j) * stride + start);
            const vec u = re[j], v = im[j];
            re[j] = u * c - v * d;
            im[j] = u * d + v * c;
        }
        NAME(four)(re, im, 2);
        NAME(four)(re + 1, im + 1, 2);
        const float root = 0.70710678118654752440f;
        const float c[4] = {1, root, 0, -root}, d[4] = {0, -root, -1, -root}; /* exp(-2 pi i k / 8) */
        for (int k = 0; k < 4; k++) {
            const vec ur = re[2 * k], ui = im[2 * k];
            const vec vr = re[2 * k + 1] * c[k] - im[2 * k + 1] * d[k], vi = re[2 * k + 1] * d[k] + im[2 * k + 1] * c[k];
            const vec first_re = ur + vr, first_im = ui + vi, second_re = ur - vr, second_im = ui - vi;
            for (int i = 0; i < used; i++) { /* bins above Nyquist are conjugates of those below */
                out[size * k + start + i] = (complex_t){first_re[i], first_im[i]};
                out[size * (4 - k) - start - i] = (complex_t){second_re[i], -second_im[i]};
            }
        }
    }
}

/* Write four bins of the spectrum of a real row, from any bin on; `count` of them are used. */
INLINE void NAME(bins)(const complex_t *spectrum, int size, int first, int count, vec *out) {
    const int nyquist = size / 2;
    if (first >= 0 && first + 3 <= nyquist)
        *out = *(const loose_vec *)(spectrum + first);
    else if (first + 3 <= 0 && first >= -nyquist) {
        const vec mirrored = *(const loose_vec *)(spectrum - first - 3);
        const vec signs = {1, -1, 1, -1, 1, -1, 1, -1};
        *out = SHUFFLE(mirrored, mirrored, 6, 7, 4, 5, 2, 3, 0, 1) * signs;
    } else {
        vec values = {0};
        for (int i = 0; i < count; i++) {
            const int bin = (first + i + size) % size, mirrored = bin > nyquist;
            const complex_t value = spectrum[mirrored ? size - bin : bin];
            values[2 * i] = value.re;
            values[2 * i + 1] = mirrored ? -value.im : value.im;
        }
        *out = values;
    }
}

/* Write the crops of LANES rows as points for an inverse transform: their parts are exchanged. */
static void NAME(crop)(const Stage *stage, const complex_t *const *source, const int *bands, vec *x) {
    const int size = stage->transform.size;
    const complex_t *spectra[LANES], *from[LANES];
    const float *responses[LANES];
    int sizes[LANES], lows[LANES], first = 0, last = size - 4; /* where four bins are successive ones for all lanes */
    for (int lane = 0; lane < LANES; lane++) {
        const Crop *const crop = stage->crops + bands[lane];
        spectra[lane] = source[lane] + crop->start;
        from[lane] = spectra[lane] + crop->low;
        responses[lane] = stage->responses + (size_t)bands[lane] * size;
        sizes[lane] = crop->size;
        lows[lane] = crop->low;
        const int end = crop->size / 2 - 3 - crop->low;
        first = -crop->low > first ? -crop->low : first;
        last = end < last ? end : last;
    }
    for (int start = 0; start < size; start += 4) {
        vec points[LANES];
        if (start >= first && start <= last)
            for (int lane = 0; lane < LANES; lane++)
                points[lane] = *(const loose_vec *)(from[lane] + start);
        else
            for (int lane = 0; lane < LANES; lane++)
                NAME(bins)(spectra[lane], sizes[lane], lows[lane] + start, size - start < 4 ? size - start : 4,
                           &points[lane]);
        for (int lane = 0; lane < LANES; lane++) {
            const vec four = *(const loose_vec *)(responses[lane] + start);
            points[lane] *= SHUFFLE(four, four, 0, 0, 1, 1, 2, 2, 3, 3);
        }
        NAME(transpose)(points);
        for (int i = 0; i < 4; i++) {
            x[2 * (start + i)] = points[2 * i + 1];
            x[2 * (start + i) + 1] = points[2 * i];
        }
    }
}

/* Write the sums of LANES rows with `count` <= COLUMNS_AT_ONCE columns of weights [count, size]. */
static void NAME(weigh)(int size, int count, const vec *rows, const float *weights, int lanes, float *const *sums) {
    vec total[COLUMNS_AT_ONCE] = {{0}};
    if (count == COLUMNS_AT_ONCE)
        for (int i = 0; i < size; i++)
            for (int column = 0; column < COLUMNS_AT_ONCE; column++)
                total[column] += rows[i] * weights[column * size + i];
    else
        for (int column = 0; column < count; column++)
            for (int i = 0; i < size; i++)
                total[column] += rows[i] * weights[column * size + i];
    for (int lane = 0; lane < lanes; lane++)
        for (int column = 0; column < count; column++)
            sums[lane][column] = total[column][lane];
}

/* Write the real parts of an inverse transform of exchanged parts. A crop that starts at -size / 2 instead of zero
   leaves alternating signs. */
static void NAME(real_rows)(int size, vec *points, int lanes, float *const *out) {
    for (int start = 0; start < size; start += LANES) {
        const int count = size - start < LANES ? size - start : LANES;
        vec values[LANES];
        for (int i = 0; i < LANES; i++) {
            const vec value = points[2 * (start + (i < count ? i : 0)) + 1];
            values[i] = i % 2 ? -value : value;
        }
        NAME(transpose)(values);
        for (int lane = 0; lane < lanes; lane++)
            NAME(store)(out[lane] + start, count, &values[lane]);
    }
}

/* Replace LANES complex rows by their magnitudes. */
INLINE void NAME(magnitudes)(int size, vec *points) {
    for (int i = 0; i < size; i++) {
        const vec power = points[2 * i] * points[2 * i] + points[2 * i + 1] * points[2 * i + 1];
        for (int lane = 0; lane < LANES; lane++)
            points[i][lane] = sqrtf(power[lane]);
    }
}

/* Take a few windows through a stage that crops spectra. */
static void NAME(crops)(const Branch *b, const Stage *stage, const Windows *w, const Scratch *scratch) {
    const int size = stage->transform.size, rows = w->count * stage->bands;
    vec *const x = scratch->x, *const y = scratch->y;
    for (int row = 0; row < rows; row += LANES) {
        const int lanes = rows - row < LANES ? rows - row : LANES;
        const complex_t *source[LANES];
        complex_t *spectra[LANES];
        float *sums[LANES], *real[LANES];
        int bands[LANES];
        for (int lane = 0; lane < LANES; lane++) {
            /* lanes of one band read the same responses */
            const int n = row + (lane < lanes ? lane : 0), window = n % w->count, band = bands[lane] = n / w->count;
            complex_t *const pool = scratch->pool + window * (size_t)b->pool_points;
            source[lane] = stage->from_pool ? pool : scratch->spectra + window * (size_t)(b->window.size / 2 + 1);
            spectra[lane] = pool + stage->output + band * (size / 2 + 1);
            sums[lane] = w->sums + ((size_t)window * b->paths + stage->path + band) * b->columns;
            real[lane] = w->rows + (size_t)window * b->row_points + stage->output + band * size;
        }
        NAME(crop)(stage, source, bands, x);
        vec *const points = NAME(transform)(&stage->transform, x, y);
        if (stage->kind == REAL_ROWS) {
            NAME(real_rows)(size, points, lanes, real);
            continue;
        }
        NAME(magnitudes)(size, points);
        for (int column = 0; column < b->columns; column += COLUMNS_AT_ONCE) {
            const int count = b->columns - column < COLUMNS_AT_ONCE ? b->columns - column : COLUMNS_AT_ONCE;
            NAME(weigh)(size, count, points, stage->weights + column * size, lanes, sums);
            for (int lane = 0; lane < LANES; lane++)
                sums[lane] += count;
        }
        if (stage->kind == SPECTRA)
            NAME(spectra)(&stage->real, points, points == x ? y : x, lanes, spectra);
    }
}

/* Write the spectra of the rows that are given with a few windows. */
static void NAME(given)(const Branch *b, const Stage *stage, const Windows *w, const Scratch *scratch) {
    const int size = 2 * stage->real.half.size, rows = w->count * stage->bands;
    vec *const x = scratch->x;
    for (int row = 0; row < rows; row += LANES) {
        const int lanes = rows - row < LANES ? rows - row : LANES;
        const float *source[LANES];
        complex_t *spectra[LANES];
        for (int lane = 0; lane < LANES; lane++) {
            const int n = row + (lane < lanes ? lane : 0), window = n / stage->bands, band = n % stage->bands;
            source[lane] = w->given + (size_t)n * size;
            spectra[lane] = scratch->pool + window * (size_t)b->pool_points + stage->output + band * (size / 2 + 1);
        }
        for (int start = 0; start < size; start += LANES) {
            const int count = size - start < LANES ? size - start : LANES;
            vec points[LANES];
            for (int lane = 0; lane < LANES; lane++)
                if (count == LANES)
                    points[lane] = *(const loose_vec *)(source[lane] + start);
                else
                    memcpy(&points[lane], source[lane] + start, sizeof(float) * (size_t)count);
            NAME(transpose)(points);
            for (int i = 0; i < count; i++)
                x[start + i] = points[i];
        }
        NAME(spectra)(&stage->real, x, scratch->y, lanes, spectra);
    }
}

/* Take a few windows through a branch. */
static void NAME(cascade)(const Branch *b, const Windows *w, const Scratch *scratch) {
    for (int n = 0; n < w->count; n++) {
        NAME(window_spectrum)(&b->window, w->audio[n], w->samples, scratch->x, scratch->y,
                              scratch->spectra + n * (size_t)(b->window.size / 2 + 1));
        for (int column = 0; b->mean && column < b->columns; column++) {
            const float *const weights = b->mean + column * (size_t)w->samples;
            vec sums = {0};
            int i = 0;
            for (; i + LANES <= w->samples; i += LANES)
                sums += *(const loose_vec *)(w->audio[n] + i) * *(const loose_vec *)(weights + i);
            float sum = 0;
            for (; i < w->samples; i++)
                sum += w->audio[n][i] * weights[i];
            for (int lane = 0; lane < LANES; lane++)
                sum += sums[lane];
            w->sums[(size_t)n * b->paths * b->columns + column] = sum;
        }
    }
    for (const Stage *stage = b->stages; stage < b->stages + b->stage_count; stage++)
        (stage->kind == GIVEN ? NAME(given) : NAME(crops))(b, stage, w, scratch);
}

#undef LOAD
#undef STORE
#undef PASS

/* Stacks of GRU and LSTM layers with weights in half precision, for few streams on a CPU with AVX2 and F16C.

   run(kind, layers, x, state, ages, y, sizes) computes F frames of N streams, layer by layer, without the interpreter's
   lock. The arrays are C-contiguous; weights are in half precision, all else is in single precision, as are the sums:

     kind    0: GRU with the reset gate outside the product, 1: GRU with it inside, 2: LSTM, 3: LSTM with normalization
     layers  a tuple of (w_ih, w_hh, b_ih, b_hh, normalization) with PyTorch's order of gates, each of which is padded with
             zeros to a multiple of 8, as are inputs: weights [gates / 8, inputs / 8, 8 gates, 8 inputs]. normalization:
             for each age gains of the two products and offsets, [3, gates], gain and offset of the cell [2, hidden]
     x       [N, F, inputs]
     state   [N, layers, leaves, hidden], overwritten; an LSTM has two leaves, its output and its cell
     ages    int32 [N]: the streams' ages in frames; later ones than the normalization has count as its last
     y       [N, F, hidden], written
     sizes   (N, F, inputs, hidden)

   supported() tells whether this CPU can. The arrays are trusted to fit each other: only
   streamtag.model.recurrent_kernel calls this. */

#include "_buffers.h"
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 64
#define PADDED(n) (((n) + 7) / 8 * 8)

enum { GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, NORMALIZED_LSTM };

typedef struct {
    const unsigned short *input_weights, *state_weights;
    const float *input_bias, *state_bias, *normalization;
} Layer;

typedef struct {
    int kind, layer_count, streams, frames, inputs, hidden, last_age;
    Layer layers[MAX_LAYERS];
    const float *x;
    const int *ages;
    float *state, *y;
} Stack;

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_F16C
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

static int is_lstm(const Stack *s) { return s->kind >= LSTM; }

#define INLINE static inline __attribute__((always_inline))
#define LOAD(p) _mm256_loadu_ps(p)

INLINE float total(__m256 v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* y[row][n] = bias[n] + sum over i of weights[n][i] x[row][i] for some of the 8 outputs of a block of weights. */
INLINE void block(const int outputs, const int rows, const unsigned short *weights, const float *bias, int inputs,
                  const float *x, float *y, size_t y_stride) {
    __m256 sums[8];
    for (int n = 0; n < outputs * rows; n++)
        sums[n] = _mm256_setzero_ps();
    for (int i = 0; i < inputs; i += 8) {
        __m256 values[4];
        for (int row = 0; row < rows; row++)
            values[row] = LOAD(x + (size_t)row * inputs + i);
        for (int n = 0; n < outputs; n++) {
            const __m256 w = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(weights + (size_t)i * 8 + n * 8)));
            for (int row = 0; row < rows; row++)
                sums[n * rows + row] = _mm256_fmadd_ps(w, values[row], sums[n * rows + row]);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int n = 0; n < outputs; n++)
            y[row * y_stride + n] = bias[n] + total(sums[n * rows + row]);
}

/* y [rows, outputs] = bias + x [rows, inputs] times the weights, each of which is read once from memory. */
static void multiply(const unsigned short *weights, const float *bias, int outputs, int inputs, const float *x, int rows,
                     float *y, size_t y_stride) {
    for (int n = 0; n < outputs; n += 8) {
        const unsigned short *const w = weights + (size_t)n * inputs;
        int row = 0;
        for (; row + 4 <= rows; row += 4)
            for (int part = 0; part < 8; part += 2)
                block(2, 4, w + part * 8, bias + n + part, inputs, x + (size_t)row * inputs,
                      y + row * y_stride + n + part, y_stride);
        for (; row < rows; row++)
            block(8, 1, w, bias + n, inputs, x + (size_t)row * inputs, y + row * y_stride + n, y_stride);
    }
}

/* Return exp(x) to 2 units in the last place: 2^n times a Taylor series within half of ln(2). */
INLINE __m256 exponential(__m256 x) {
    const __m256 shift = _mm256_set1_ps(12582912.0f); /* 1.5 * 2^23: adding it rounds to whole numbers */
    x = _mm256_min_ps(_mm256_set1_ps(88.0f), _mm256_max_ps(_mm256_set1_ps(-87.0f), x)); /* NaN stays NaN */
    const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(1.44269504f), shift), n = shifted - shift;
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145751953125f), x); /* ln(2) in two parts */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860677e-6f), r);
    __m256 sum = _mm256_set1_ps(1.0f / 720);
    const float factors[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (int k = 0; k < 6; k++)
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(factors[k]));
    const __m256i whole = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(shift));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23);
    return sum * _mm256_castsi256_ps(power);
}

INLINE __m256 sigmoid(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);
    return one / (one + exponential(-x));
}

INLINE __m256 tangent(__m256 x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

/* A frame of one stream. `input` and `old` are the gates' parts from the input and from the state. */
INLINE void gru_cell(int size, const float *input, const float *old, float *hidden) {
    for (int j = 0; j < size; j += 8) {
        const __m256 reset = sigmoid(LOAD(input + j) + LOAD(old + j));
        const __m256 update = sigmoid(LOAD(input + size + j) + LOAD(old + size + j));
        const __m256 new = tangent(LOAD(input + 2 * size + j) + reset * LOAD(old + 2 * size + j));
        _mm256_storeu_ps(hidden + j, new + update * (LOAD(hidden + j) - new));
    }
}

/* The same where the product took the state times the reset gate. */
INLINE void gru_cell_reset_before(int size, const float *input, const float *old, float *hidden) {
    for (int j = 0; j < size; j += 8) {
        const __m256 update = sigmoid(LOAD(input + size + j) + LOAD(old + size + j));
        const __m256 new = tangent(LOAD(input + 2 * size + j) + LOAD(old + 2 * size + j));
        _mm256_storeu_ps(hidden + j, new + update * (LOAD(hidden + j) - new));
    }
}

INLINE void reset(int size, const float *input, const float *old, const float *hidden, float *scaled) {
    for (int j = 0; j < size; j += 8)
        _mm256_storeu_ps(scaled + j, sigmoid(LOAD(input + j) + LOAD(old + j)) * LOAD(hidden + j));
}

INLINE void lstm_cell(int size, const float *input, const float *old, const float *norm, float *hidden, float *cell) {
    for (int j = 0; j < size; j += 8) {
        __m256 gates[4];
        for (int g = 0; g < 4; g++) {
            const int at = g * size + j;
            if (norm)
                gates[g] = LOAD(input + at) * LOAD(norm + at) + LOAD(norm + 8 * size + at) +
                           LOAD(old + at) * LOAD(norm + 4 * size + at);
            else
                gates[g] = LOAD(input + at) + LOAD(old + at);
        }
        const __m256 next = sigmoid(gates[1]) * LOAD(cell + j) + sigmoid(gates[0]) * tangent(gates[2]);
        __m256 shown = next;
        if (norm)
            shown = next * LOAD(norm + 12 * size + j) + LOAD(norm + 13 * size + j);
        _mm256_storeu_ps(cell + j, next);
        _mm256_storeu_ps(hidden + j, sigmoid(gates[3]) * tangent(shown));
    }
}

/* rows: inputs of a layer, then its outputs; input, old: gates; hidden, cell: the state; scaled: with the reset gate. */
typedef struct {
    float *rows, *input, *old, *hidden, *cell, *scaled;
} Memory;

/* Return the normalization of a stream's frame, or NULL. */
static const float *normalization(const Stack *s, const Layer *layer, int stream, int frame) {
    if (s->kind != NORMALIZED_LSTM)
        return NULL;
    const long long age = (long long)s->ages[stream] + frame;
    return layer->normalization + (size_t)(age < s->last_age ? age : s->last_age) * 14 * PADDED(s->hidden);
}

/* Take all frames through one layer. */
static void run_layer(const Stack *s, const Layer *layer, int inputs, const Memory *m) {
    const int size = PADDED(s->hidden), gates = (is_lstm(s) ? 4 : 3) * size, count = s->streams;
    const int reset_before = s->kind == GRU_RESET_BEFORE;
    multiply(layer->input_weights, layer->input_bias, gates, inputs, m->rows, count * s->frames, m->input, gates);
    for (int frame = 0; frame < s->frames; frame++) {
        multiply(layer->state_weights, layer->state_bias, reset_before ? 2 * size : gates, size, m->hidden, count, m->old,
                 gates);
        if (reset_before) {
            for (int n = 0; n < count; n++)
                reset(size, m->input + ((size_t)n * s->frames + frame) * gates, m->old + (size_t)n * gates,
                      m->hidden + (size_t)n * size, m->scaled + (size_t)n * size);
            multiply(layer->state_weights + (size_t)2 * size * size, layer->state_bias + 2 * size, size, size, m->scaled,
                     count, m->old + 2 * size, gates);
        }
        for (int n = 0; n < count; n++) {
            const float *const input = m->input + ((size_t)n * s->frames + frame) * gates;
            const float *const old = m->old + (size_t)n * gates;
            float *const hidden = m->hidden + (size_t)n * size;
            if (is_lstm(s))
                lstm_cell(size, input, old, normalization(s, layer, n, frame), hidden, m->cell + (size_t)n * size);
            else if (reset_before)
                gru_cell_reset_before(size, input, old, hidden);
            else
                gru_cell(size, input, old, hidden);
            memcpy(m->rows + ((size_t)n * s->frames + frame) * size, hidden, sizeof(float) * (size_t)size);
        }
    }
}

/* Copy rows of `width` floats between strides. */
static void copy(int rows, int width, const float *from, size_t from_stride, float *to, size_t to_stride) {
    for (int n = 0; n < rows; n++)
        memcpy(to + n * to_stride, from + n * from_stride, sizeof(float) * (size_t)width);
}

static void run_stack(const Stack *s, const Memory *m) {
    const int size = PADDED(s->hidden), leaves = is_lstm(s) ? 2 : 1, rows = s->streams * s->frames;
    const size_t stride = (size_t)s->layer_count * leaves * s->hidden;
    copy(rows, s->inputs, s->x, s->inputs, m->rows, PADDED(s->inputs));
    for (int n = 0; n < s->layer_count; n++) {
        float *const state = s->state + (size_t)n * leaves * s->hidden;
        copy(s->streams, s->hidden, state, stride, m->hidden, size);
        if (is_lstm(s))
            copy(s->streams, s->hidden, state + s->hidden, stride, m->cell, size);
        run_layer(s, &s->layers[n], n ? size : PADDED(s->inputs), m);
        copy(s->streams, s->hidden, m->hidden, size, state, stride);
        if (is_lstm(s))
            copy(s->streams, s->hidden, m->cell, size, state + s->hidden, stride);
    }
    copy(rows, s->hidden, m->rows, size, s->y, s->hidden);
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* Return whether there was enough memory. All of it is zero at first: what is padded must be. */
static int allocate_and_run(const Stack *s) {
    const size_t size = PADDED(s->hidden), gates = 4 * size, streams = s->streams, rows = streams * s->frames;
    const size_t width = size > (size_t)PADDED(s->inputs) ? size : (size_t)PADDED(s->inputs);
    float *const memory = calloc(rows * (width + gates) + streams * (gates + 3 * size), sizeof(float));
    if (!memory)
        return 0;
    Memory m = {.rows = memory, .input = memory + rows * width};
    m.old = m.input + rows * gates;
    m.hidden = m.old + streams * gates;
    m.cell = m.hidden + streams * size;
    m.scaled = m.cell + streams * size;
    run_stack(s, &m);
    free(memory);
    return 1;
}
#endif

static int is_supported(void) {
#ifdef HAS_F16C
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* all of these have F16C */
#else
    return 0;
#endif
}

/* Return whether no exception is set. */
static int parse(Views *views, PyObject *args, Stack *s) {
    PyObject *layers, *x, *state, *ages, *y;
    if (!PyArg_ParseTuple(args, "iO!OOOO(iiii)", &s->kind, &PyTuple_Type, &layers, &x, &state, &ages, &y, &s->streams,
                          &s->frames, &s->inputs, &s->hidden))
        return 0;
    s->x = view(views, x, PyBUF_SIMPLE);
    s->state = view(views, state, PyBUF_WRITABLE);
    s->ages = view(views, ages, PyBUF_SIMPLE);
    s->y = view(views, y, PyBUF_WRITABLE);
    s->layer_count = (int)PyTuple_Size(layers);
    if (s->layer_count > MAX_LAYERS)
        PyErr_SetString(PyExc_ValueError, "too many layers");
    for (int n = 0; n < s->layer_count && !PyErr_Occurred(); n++) {
        PyObject *weights[5];
        Layer *const layer = &s->layers[n];
        if (!PyArg_ParseTuple(PyTuple_GetItem(layers, n), "OOOOO", &weights[0], &weights[1], &weights[2], &weights[3],
                              &weights[4]))
            return 0;
        layer->input_weights = view(views, weights[0], PyBUF_SIMPLE);
        layer->state_weights = view(views, weights[1], PyBUF_SIMPLE);
        layer->input_bias = view(views, weights[2], PyBUF_SIMPLE);
        layer->state_bias = view(views, weights[3], PyBUF_SIMPLE);
        layer->normalization = view(views, weights[4], PyBUF_SIMPLE);
        s->last_age = (int)(length(views) / (Py_ssize_t)(14 * PADDED(s->hidden) * sizeof(float))) - 1;
    }
    return !PyErr_Occurred();
}

static PyObject *run(PyObject *module, PyObject *args) {
    (void)module;
    Views views = {.count = 0};
    Stack stack;
    if (!is_supported())
        PyErr_SetString(PyExc_RuntimeError, "this CPU has no AVX2, FMA or F16C");
    else if (parse(&views, args, &stack)) {
        int enough = 1;
        Py_BEGIN_ALLOW_THREADS
#ifdef HAS_F16C
        enough = allocate_and_run(&stack);
#endif
        Py_END_ALLOW_THREADS
        if (!enough)
            PyErr_NoMemory();
    }
    return finish(&views);
}

static PyObject *supported(PyObject *module, PyObject *nothing) {
    (void)module, (void)nothing;
    return PyBool_FromLong(is_supported());
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "Compute frames of a stack of recurrent layers."},
    {"supported", supported, METH_NOARGS, "Return whether this CPU has what `run` needs."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_recurrent",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__recurrent(void) { return PyModuleDef_Init(&definition); }

/* Two orders of wavelet moduli over windows of a signal: streamtag.model.cascade in compiled code, for a CPU.

   run(stages, spectrum, given, sums, rows, sizes, windows, threads) takes B windows through the stages in turn, without
   the interpreter's lock. The arrays are C-contiguous and float32, or pairs of it if complex:

     spectrum  [B, bins] complex   the windows' spectra
     given     [B, bands, size]    envelopes that are inputs
     sums      [B, paths, C]       written: envelopes times the C columns of weights
     rows      [B, points]         written: low-passed rows
     sizes     (bins, points of the pool, paths, C, points of `rows`), per window

   The pool holds the spectra of a window's envelopes, each from frequency zero to Nyquist. A stage is a tuple
   (kind, from_pool, size, bands, crops, responses, weights, path, output, transform, real):

     kind       0: envelopes and their sums; 1: the same, and the envelopes' spectra; 2: spectra of the rows that are
                given; 3: real rows
     from_pool  1: crops of the pool; 0: crops of `spectrum`
     crops      int32 [bands, 3]: where the spectrum of a real row starts, the size of that row, and the crop's lowest
                bin; bins below zero or above Nyquist are conjugates
     responses  [bands, size] and 8 more: real factors of the crops
     weights    [C, size]; path: the first of the stage's paths
     output     where the spectra go in the pool, or the rows in `rows`
     transform  (radices, factors) of `size` points; real: (radices, factors, untangling factors) of size / 2 points

   The arrays are trusted to fit each other: only streamtag.model.cascade_kernel calls this. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
#define WINDOWS_AT_ONCE 4 /* their pools stay in a core's cache */
#define COLUMNS_AT_ONCE 6
#define MAX_STAGES 32
#define MAX_THREADS 64
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int int_vec __attribute__((vector_size(4 * LANES)));

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (int_vec){__VA_ARGS__})
#endif

typedef struct {
    float re, im;
} complex_t;

typedef struct {
    int size, passes;
    const unsigned char *radices;
    const complex_t *factors;
} Transform;

typedef struct {
    Transform half;
    const complex_t *untangle;
} RealTransform;

typedef struct {
    int start, size, low;
} Crop;

enum { ENVELOPES, SPECTRA, GIVEN, REAL_ROWS };

typedef struct {
    int kind, from_pool, bands, path, output;
    const Crop *crops;
    const float *responses, *weights;
    Transform transform;
    RealTransform real;
} Stage;

typedef struct {
    const complex_t *spectrum;
    const float *given;
    float *sums, *rows;
    complex_t *pool;
    Py_ssize_t spectrum_points, pool_points, paths, row_points;
    int columns;
} Arrays;

#define NAME(x) x##_base
#include "_cascade_passes.h"
#undef NAME

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_AVX2
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(x) x##_avx2
#include "_cascade_passes.h"
#undef NAME
#pragma GCC pop_options
#endif

/* The buffers that a call holds, so that all are released however it ends. */
typedef struct {
    Py_buffer views[8 * MAX_STAGES + 4];
    int count;
} Views;

static void *view(Views *views, PyObject *object, int flags) {
    Py_buffer *const next = &views->views[views->count];
    if (PyObject_GetBuffer(object, next, flags | PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    views->count++;
    return next->buf;
}

static int parse_transform(Views *views, PyObject *radices, PyObject *factors, int size, Transform *transform) {
    transform->size = size;
    transform->radices = view(views, radices, PyBUF_SIMPLE);
    transform->passes = transform->radices ? (int)views->views[views->count - 1].len : 0;
    transform->factors = view(views, factors, PyBUF_SIMPLE);
    return transform->radices && transform->factors;
}

/* Return the stage's size, or 0 with an exception set. */
static int parse_stage(Views *views, PyObject *object, Stage *stage) {
    PyObject *crops, *responses, *weights, *radices, *factors, *half_radices, *half_factors, *untangle;
    int size;
    if (!PyArg_ParseTuple(object, "iiiiOOOii(OO)(OOO)", &stage->kind, &stage->from_pool, &size, &stage->bands, &crops,
                          &responses, &weights, &stage->path, &stage->output, &radices, &factors, &half_radices,
                          &half_factors, &untangle))
        return 0;
    stage->crops = view(views, crops, PyBUF_SIMPLE);
    stage->responses = view(views, responses, PyBUF_SIMPLE);
    stage->weights = view(views, weights, PyBUF_SIMPLE);
    stage->real.untangle = view(views, untangle, PyBUF_SIMPLE);
    const int parsed = stage->crops && stage->responses && stage->weights && stage->real.untangle &&
                       parse_transform(views, radices, factors, size, &stage->transform) &&
                       parse_transform(views, half_radices, half_factors, size / 2, &stage->real.half);
    return parsed ? size : 0;
}

/* Return the largest size of a stage, or 0 with an exception set. */
static int parse(Views *views, PyObject *args, Stage *stages, int *count, Arrays *a, int *windows, int *threads) {
    PyObject *list, *spectrum, *given, *sums, *rows;
    int largest = 0;
    if (!PyArg_ParseTuple(args, "O!OOOO(nnnin)ii", &PyTuple_Type, &list, &spectrum, &given, &sums, &rows,
                          &a->spectrum_points, &a->pool_points, &a->paths, &a->columns, &a->row_points, windows, threads))
        return 0;
    a->spectrum = view(views, spectrum, PyBUF_SIMPLE);
    a->given = view(views, given, PyBUF_SIMPLE);
    a->sums = view(views, sums, PyBUF_WRITABLE);
    a->rows = view(views, rows, PyBUF_WRITABLE);
    if (!a->spectrum || !a->given || !a->sums || !a->rows)
        return 0;
    *count = (int)PyTuple_Size(list);
    if (*count > MAX_STAGES) {
        PyErr_SetString(PyExc_ValueError, "too many stages");
        return 0;
    }
    for (int n = 0; n < *count; n++) {
        const int size = parse_stage(views, PyTuple_GetItem(list, n), &stages[n]);
        if (!size)
            return 0;
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* Some of the windows, and whether there was enough memory for them. */
typedef struct {
    const Stage *stages;
    Arrays arrays;
    int count, begin, end, largest, enough;
} Part;

static void *take(void *argument) {
    Part *const part = argument;
    /* two rows of complex points, each with space for one more and for the rest of a vector; then the pools */
    const size_t row = 2 * ((size_t)part->largest + LANES), pools = WINDOWS_AT_ONCE * (size_t)part->arrays.pool_points;
    void *memory = NULL;
    part->enough = posix_memalign(&memory, 64, 2 * row * sizeof(vec) + pools * sizeof(complex_t)) == 0;
    if (!part->enough)
        return NULL;
    vec *const x = memory, *const y = x + row;
    part->arrays.pool = (complex_t *)(y + row);
#ifdef HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        cascade_avx2(part->stages, part->count, &part->arrays, part->begin, part->end, x, y);
    else
#endif
        cascade_base(part->stages, part->count, &part->arrays, part->begin, part->end, x, y);
    free(memory);
    return NULL;
}

/* Share the windows among threads; one that does not start leaves its part to this one. Return whether there was enough
   memory. */
static int take_all(const Part *whole, int threads) {
    Part parts[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    int started[MAX_THREADS], enough = 1;
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    for (int n = threads - 1; n >= 0; n--) {
        parts[n] = *whole;
        parts[n].begin = (int)((long long)whole->end * n / threads);
        parts[n].end = (int)((long long)whole->end * (n + 1) / threads);
        started[n] = n > 0 && pthread_create(&ids[n], NULL, take, &parts[n]) == 0;
        if (!started[n])
            take(&parts[n]);
    }
    for (int n = 0; n < threads; n++) {
        if (started[n])
            pthread_join(ids[n], NULL);
        enough = enough && parts[n].enough;
    }
    return enough;
}

static PyObject *run(PyObject *module, PyObject *args) {
    (void)module;
    Views views = {.count = 0};
    Stage stages[MAX_STAGES];
    Part whole = {.stages = stages, .begin = 0};
    int threads;
    whole.largest = parse(&views, args, stages, &whole.count, &whole.arrays, &whole.end, &threads);
    if (whole.largest) {
        int enough;
        Py_BEGIN_ALLOW_THREADS
        enough = take_all(&whole, threads < 1 ? 1 : threads);
        Py_END_ALLOW_THREADS
        if (!enough)
            PyErr_NoMemory();
    }
    for (int n = 0; n < views.count; n++)
        PyBuffer_Release(&views.views[n]);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "Take windows through the stages of a cascade."},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_cascade",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__cascade(void) { return PyModuleDef_Init(&definition); }

/* Two orders of wavelet moduli over windows of a signal, for a CPU: streamtag.model.cascade in compiled code, and the
   step of streamtag.model.scattering. All arrays are C-contiguous and float32, or pairs of it if complex; functions
   work without the interpreter's lock. The arrays are trusted to fit each other: only streamtag.model.cascade_kernel
   calls this.

   A branch is a tuple (stages, window, mean, pool points, paths, columns C, points of rows):

     window  (size, radices, factors, untangling factors, turns): the transform of the window's samples as 8 rows
     mean    [C, samples]: weights of the samples, for path 0; empty: there is no such path

   The pool holds the spectra of a window's envelopes, each from frequency zero to Nyquist. A stage is a tuple
   (kind, from_pool, size, bands, crops, responses, weights, path, output, transform, real):

     kind       0: envelopes and their sums; 1: the same, and the envelopes' spectra; 2: spectra of the rows that are
                given; 3: real rows
     from_pool  1: crops of the pool; 0: crops of the window's spectrum
     crops      int32 [bands, 3]: where the spectrum of a real row starts, the size of that row, and the crop's lowest
                bin; bins below zero or above Nyquist are conjugates
     responses  [bands, size] and 8 more: real factors of the crops
     weights    [C, size]; path: the first of the stage's paths
     output     where the spectra go in the pool, or the rows among a window's rows
     transform  (radices, factors) of `size` points; real: (radices, factors, untangling factors) of size / 2 points */

#include "_buffers.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
#define WINDOWS_AT_ONCE 4 /* their pools stay in a core's cache */
#define COLUMNS_AT_ONCE 6
#define MAX_STAGES 24
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
    int size;
    RealTransform lanes; /* of every eighth sample */
    const float *turns;  /* exp(-2 pi i j k / size): real and imaginary parts for row j and bin k */
} WindowTransform;

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
    Stage stages[MAX_STAGES];
    int stage_count, pool_points, paths, columns, row_points, largest;
    WindowTransform window;
    const float *mean;
} Branch;

/* At most WINDOWS_AT_ONCE windows, and what is computed for them: see `run`. */
typedef struct {
    const float *audio[WINDOWS_AT_ONCE];
    int count, samples;
    const float *given;
    float *sums, *rows;
} Windows;

typedef struct {
    vec *x, *y; /* rows of complex points */
    complex_t *spectra, *pool;
} Scratch;

#define NAME(x) x##_base
#include "_cascade_passes.h"
#undef NAME

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_AVX2
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define NAME(x) x##_avx2
#include "_cascade_passes.h"
#undef NAME
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

static void cascade(const Branch *branch, const Windows *windows, const Scratch *scratch) {
#ifdef HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        cascade_avx2(branch, windows, scratch);
        return;
    }
#endif
    cascade_base(branch, windows, scratch);
}

/* Return memory for windows of the branches and `extra` floats, which follow it, or NULL. The caller frees `x`. */
static float *allocate(const Branch *const *branches, int count, size_t extra, Scratch *scratch) {
    size_t row = 0, bins = 0, pool = 0;
    for (int n = 0; n < count; n++) {
        const Branch *const b = branches[n];
        const size_t points = b->window.size / LANES > b->largest ? (size_t)b->window.size / LANES : (size_t)b->largest;
        const size_t needed = 2 * (points + LANES); /* one point more, and the rest of a vector of points */
        row = needed > row ? needed : row;
        bins = (size_t)b->window.size / 2 + 1 > bins ? (size_t)b->window.size / 2 + 1 : bins;
        pool = (size_t)b->pool_points > pool ? (size_t)b->pool_points : pool;
    }
    const size_t spectra = WINDOWS_AT_ONCE * bins, pools = WINDOWS_AT_ONCE * pool;
    void *memory = NULL;
    if (posix_memalign(&memory, 64, 2 * row * sizeof(vec) + (spectra + pools) * sizeof(complex_t) + extra * sizeof(float)))
        return NULL;
    scratch->x = memory;
    scratch->y = scratch->x + row;
    scratch->spectra = (complex_t *)(scratch->y + row);
    scratch->pool = scratch->spectra + spectra;
    return (float *)(scratch->pool + pools);
}

/* Part of the work of a call, and whether there was enough memory for it. */
typedef struct Part {
    int (*work)(const struct Part *);
    const void *job;
    int begin, end, enough;
} Part;

static void *work(void *part) {
    ((Part *)part)->enough = ((Part *)part)->work(part);
    return NULL;
}

/* Share `count` items of a job among threads; one that does not start leaves its part to this one. Return whether there
   was enough memory. */
static int share(int (*function)(const Part *), const void *job, int count, int threads) {
    Part parts[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    int started[MAX_THREADS], enough = 1;
    threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
    for (int n = threads - 1; n >= 0; n--) {
        parts[n] = (Part){function, job, (int)((long long)count * n / threads),
                          (int)((long long)count * (n + 1) / threads), 0};
        started[n] = n > 0 && pthread_create(&ids[n], NULL, work, &parts[n]) == 0;
        if (!started[n])
            work(&parts[n]);
    }
    for (int n = 0; n < threads; n++) {
        if (started[n])
            pthread_join(ids[n], NULL);
        enough = enough && parts[n].enough;
    }
    return enough;
}

/* All functions that parse return whether no exception is set. */
static int parse_transform(Views *views, PyObject *radices, PyObject *factors, int size, Transform *transform) {
    transform->size = size;
    transform->radices = view(views, radices, PyBUF_SIMPLE);
    transform->passes = (int)length(views);
    transform->factors = view(views, factors, PyBUF_SIMPLE);
    return !PyErr_Occurred();
}

static int parse_stage(Views *views, PyObject *object, Stage *stage, int *size) {
    PyObject *crops, *responses, *weights, *radices, *factors, *half_radices, *half_factors, *untangle;
    if (!PyArg_ParseTuple(object, "iiiiOOOii(OO)(OOO)", &stage->kind, &stage->from_pool, size, &stage->bands, &crops,
                          &responses, &weights, &stage->path, &stage->output, &radices, &factors, &half_radices,
                          &half_factors, &untangle))
        return 0;
    stage->crops = view(views, crops, PyBUF_SIMPLE);
    stage->responses = view(views, responses, PyBUF_SIMPLE);
    stage->weights = view(views, weights, PyBUF_SIMPLE);
    stage->real.untangle = view(views, untangle, PyBUF_SIMPLE);
    return parse_transform(views, radices, factors, *size, &stage->transform) &&
           parse_transform(views, half_radices, half_factors, *size / 2, &stage->real.half);
}

static int parse_branch(Views *views, PyObject *object, Branch *branch) {
    PyObject *stages, *mean, *radices, *factors, *untangle, *turns;
    WindowTransform *const window = &branch->window;
    if (!PyArg_ParseTuple(object, "O!(iOOOO)Oiiii", &PyTuple_Type, &stages, &window->size, &radices, &factors, &untangle,
                          &turns, &mean, &branch->pool_points, &branch->paths, &branch->columns, &branch->row_points))
        return 0;
    window->lanes.untangle = view(views, untangle, PyBUF_SIMPLE);
    window->turns = view(views, turns, PyBUF_SIMPLE);
    branch->mean = view(views, mean, PyBUF_SIMPLE);
    if (!length(views))
        branch->mean = NULL;
    if (!parse_transform(views, radices, factors, window->size / (2 * LANES), &window->lanes.half))
        return 0;
    branch->stage_count = (int)PyTuple_Size(stages);
    if (branch->stage_count > MAX_STAGES)
        PyErr_SetString(PyExc_ValueError, "too many stages");
    branch->largest = 0;
    for (int n = 0; n < branch->stage_count && !PyErr_Occurred(); n++) {
        int size = 0;
        if (parse_stage(views, PyTuple_GetItem(stages, n), &branch->stages[n], &size))
            branch->largest = size > branch->largest ? size : branch->largest;
    }
    return !PyErr_Occurred();
}

/* run(branch, audio, given, sums, rows, windows B, samples, given points, threads):

     audio  [B, samples], silent after that
     given  [B, bands, size]   envelopes that are inputs
     sums   [B, paths, C]      written: envelopes times weights
     rows   [B, points]        written: low-passed rows */
typedef struct {
    Branch branch;
    const float *audio, *given;
    float *sums, *rows;
    int windows, samples, given_points;
} Run;

static int run_part(const Part *part) {
    const Run *const r = part->job;
    const Branch *const b = &r->branch;
    Scratch scratch;
    if (!allocate(&b, 1, 0, &scratch))
        return 0;
    for (int start = part->begin; start < part->end; start += WINDOWS_AT_ONCE) {
        Windows w = {.count = part->end - start, .samples = r->samples};
        w.count = w.count > WINDOWS_AT_ONCE ? WINDOWS_AT_ONCE : w.count;
        for (int n = 0; n < w.count; n++)
            w.audio[n] = r->audio + (size_t)(start + n) * r->samples;
        w.given = r->given + (size_t)start * r->given_points;
        w.sums = r->sums + (size_t)start * b->paths * b->columns;
        w.rows = r->rows + (size_t)start * b->row_points;
        cascade(b, &w, &scratch);
    }
    free(scratch.x);
    return 1;
}

static PyObject *run(PyObject *module, PyObject *args) {
    (void)module;
    Views views = {.count = 0};
    Run r;
    PyObject *branch, *audio, *given, *sums, *rows;
    int threads, enough = 1;
    if (PyArg_ParseTuple(args, "OOOOOiiii", &branch, &audio, &given, &sums, &rows, &r.windows, &r.samples,
                         &r.given_points, &threads)) {
        r.audio = view(&views, audio, PyBUF_SIMPLE);
        r.given = view(&views, given, PyBUF_SIMPLE);
        r.sums = view(&views, sums, PyBUF_WRITABLE);
        r.rows = view(&views, rows, PyBUF_WRITABLE);
        if (!PyErr_Occurred() && parse_branch(&views, branch, &r.branch)) {
            Py_BEGIN_ALLOW_THREADS
            enough = share(run_part, &r, r.windows, threads);
            Py_END_ALLOW_THREADS
        }
    }
    if (!enough)
        PyErr_NoMemory();
    return finish(&views);
}

/* step((high, low), plan, audio, sums, bands, past, frames, streams N, hops F, samples, threads): the frames that F
   hops of N streams complete, and their states. The high branch has the rows of the audio, then those of K bands.

     plan    (columns, fade, order, hop, K, audio margin, audio hop, band margin, band hop): `columns` of the sums that
             make up a frame, from the newest hop on; fade [audio margin + audio hop]; order: int32 [P], of each path of
             a frame among those of both branches
     audio   [N, samples]: window n of a stream begins n hops after its first sample
     sums    [N, H, paths, C], bands [N, K, H * band hop], past [N, H * audio hop]: of the last H hops, overwritten
     frames  [N, F, P], written */
typedef struct {
    Branch high, low;
    const unsigned char *columns;
    const float *fade, *audio;
    const int *order;
    float *sums, *bands, *past, *frames;
    int history, path_count, hop, band_count, audio_margin, audio_hop, band_margin, band_hop;
    int streams, hops, samples;
} Step;

/* Append `count` values to a row of `size` and drop as many. */
static void append(float *row, int size, const float *values, int count) {
    memmove(row, row + count, sizeof(float) * (size_t)(size - count));
    memcpy(row + size - count, values, sizeof(float) * (size_t)count);
}

/* Write what the low branch needs for the frame of a window of a stream, and the high branch's part of the frame; take
   over the results of that window into the stream's state. */
static void complete(const Step *s, int stream, const float *new_sums, const float *rows, float *given, float *audio,
                     float *frame) {
    const int paths = s->high.paths, columns = s->high.columns, history = s->history;
    const size_t hop_sums = (size_t)paths * columns;
    float *const sums = s->sums + stream * history * hop_sums;
    for (int p = 0; p < paths; p++) {
        float total = new_sums[(size_t)p * columns + s->columns[0]];
        for (int back = 1; back <= history; back++)
            total += sums[(history - back) * hop_sums + (size_t)p * columns + s->columns[back]];
        frame[p] = total;
    }
    append(sums, (int)(history * hop_sums), new_sums, (int)hop_sums);

    /* audio that fades out, since an abrupt end would excite the lowest bands */
    const int kept = history * s->audio_hop, fading = s->audio_margin + s->audio_hop;
    float *const past = s->past + (size_t)stream * kept;
    const float *const fresh = rows + s->audio_margin;
    memcpy(audio, past, sizeof(float) * (size_t)kept);
    for (int i = 0; i < fading; i++)
        audio[kept + i] = fresh[i] * s->fade[i];
    append(past, kept, fresh, s->audio_hop);

    /* envelopes: unknown ones mirror the known ones, so that ψ2 meets no step */
    const int band_kept = history * s->band_hop, known = s->band_hop + s->band_margin, points = known + s->band_margin;
    const int span = s->low.window.size * s->band_hop / s->audio_hop, missing = span - band_kept - known;
    for (int k = 0; k < s->band_count; k++) {
        const float *const row = rows + s->audio_hop + 2 * s->audio_margin + k * points + s->band_margin;
        float *const kept_row = s->bands + ((size_t)stream * s->band_count + k) * band_kept, *const out = given + k * span;
        memcpy(out, kept_row, sizeof(float) * (size_t)band_kept);
        memcpy(out + band_kept, row, sizeof(float) * (size_t)known);
        for (int i = 0; i < missing; i++)
            out[band_kept + known + i] = row[known - 1 - i];
        append(kept_row, band_kept, row, s->band_hop);
    }
}

static int step_part(const Part *part) {
    const Step *const s = part->job;
    const Branch *const branches[] = {&s->high, &s->low};
    const int span = s->low.window.size * s->band_hop / s->audio_hop;
    const int low_samples = s->history * s->audio_hop + s->audio_margin + s->audio_hop;
    const size_t sums_size = (size_t)s->high.paths * s->high.columns, given_size = (size_t)s->band_count * span;
    const size_t frame_size = (size_t)s->high.paths + s->low.paths;
    Scratch scratch;
    float *const memory = allocate(branches, 2,
                                   WINDOWS_AT_ONCE * (sums_size + s->high.row_points + given_size + low_samples +
                                                      s->high.paths + s->low.paths + frame_size),
                                   &scratch);
    if (!memory)
        return 0;
    float *const sums = memory, *const rows = sums + WINDOWS_AT_ONCE * sums_size;
    float *const given = rows + WINDOWS_AT_ONCE * (size_t)s->high.row_points;
    float *const audio = given + WINDOWS_AT_ONCE * given_size;
    float *const frames = audio + WINDOWS_AT_ONCE * (size_t)low_samples;
    float *const low_sums = frames + WINDOWS_AT_ONCE * frame_size;
    const int end = part->end * s->hops;
    for (int start = part->begin * s->hops; start < end; start += WINDOWS_AT_ONCE) {
        const int count = end - start < WINDOWS_AT_ONCE ? end - start : WINDOWS_AT_ONCE;
        Windows high = {.count = count, .samples = s->hop + s->hop / 4, .sums = sums, .rows = rows};
        Windows low = {.count = count, .samples = low_samples, .given = given, .sums = low_sums};
        for (int n = 0; n < count; n++) {
            const int stream = (start + n) / s->hops, hop = (start + n) % s->hops;
            high.audio[n] = s->audio + (size_t)stream * s->samples + (size_t)hop * s->hop;
            low.audio[n] = audio + (size_t)n * low_samples;
        }
        cascade(&s->high, &high, &scratch);
        for (int n = 0; n < count; n++)
            complete(s, (start + n) / s->hops, sums + n * sums_size, rows + n * (size_t)s->high.row_points,
                     given + n * given_size, audio + (size_t)n * low_samples, frames + n * frame_size);
        cascade(&s->low, &low, &scratch);
        for (int n = 0; n < count; n++) {
            float *const frame = frames + n * frame_size, *const out = s->frames + (size_t)(start + n) * s->path_count;
            memcpy(frame + s->high.paths, low_sums + (size_t)n * s->low.paths, sizeof(float) * (size_t)s->low.paths);
            for (int p = 0; p < s->path_count; p++)
                out[p] = frame[s->order[p]];
        }
    }
    free(scratch.x);
    return 1;
}

static PyObject *step(PyObject *module, PyObject *args) {
    (void)module;
    Views views = {.count = 0};
    Step s;
    PyObject *high, *low, *columns, *fade, *order, *audio, *sums, *bands, *past, *frames;
    int threads, enough = 1;
    if (PyArg_ParseTuple(args, "(OO)(OOOiiiiii)OOOOOiiii", &high, &low, &columns, &fade, &order, &s.hop, &s.band_count,
                         &s.audio_margin, &s.audio_hop, &s.band_margin, &s.band_hop, &audio, &sums, &bands, &past,
                         &frames, &s.streams, &s.hops, &s.samples, &threads)) {
        s.order = view(&views, order, PyBUF_SIMPLE);
        s.path_count = (int)(length(&views) / (Py_ssize_t)sizeof(int));
        s.columns = view(&views, columns, PyBUF_SIMPLE);
        s.history = (int)length(&views) - 1;
        s.fade = view(&views, fade, PyBUF_SIMPLE);
        s.audio = view(&views, audio, PyBUF_SIMPLE);
        s.sums = view(&views, sums, PyBUF_WRITABLE);
        s.bands = view(&views, bands, PyBUF_WRITABLE);
        s.past = view(&views, past, PyBUF_WRITABLE);
        s.frames = view(&views, frames, PyBUF_WRITABLE);
        if (!PyErr_Occurred() && parse_branch(&views, high, &s.high) && parse_branch(&views, low, &s.low)) {
            Py_BEGIN_ALLOW_THREADS
            enough = share(step_part, &s, s.streams, threads);
            Py_END_ALLOW_THREADS
        }
    }
    if (!enough)
        PyErr_NoMemory();
    return finish(&views);
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "Take windows through a branch."},
    {"step", step, METH_VARARGS, "Compute the frames of a few hops of streams."},
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

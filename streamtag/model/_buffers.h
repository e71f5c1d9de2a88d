/* The buffers of Python objects that a call holds, so that all are released however it ends. */

#ifndef STREAMTAG_BUFFERS_H
#define STREAMTAG_BUFFERS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#define MAX_VIEWS 512

typedef struct {
    Py_buffer views[MAX_VIEWS];
    int count;
} Views;

/* Return the memory of a C-contiguous object, or NULL with an exception set, also if one was before. */
static void *view(Views *views, PyObject *object, int flags) {
    if (PyErr_Occurred())
        return NULL;
    if (views->count == MAX_VIEWS) {
        PyErr_SetString(PyExc_ValueError, "too many arrays");
        return NULL;
    }
    Py_buffer *const next = &views->views[views->count];
    if (PyObject_GetBuffer(object, next, flags | PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    views->count++;
    return next->buf;
}

/* Return the length in bytes of the newest one, or 0. */
static Py_ssize_t length(const Views *views) { return views->count ? views->views[views->count - 1].len : 0; }

/* Release all buffers. Return None, or NULL if an exception is set. */
static PyObject *finish(Views *views) {
    for (int n = 0; n < views->count; n++)
        PyBuffer_Release(&views->views[n]);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

#endif

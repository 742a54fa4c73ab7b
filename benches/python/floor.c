/* The least that a function called from Python must do to keep a step's metrics: walk the dict, read the clock, and copy
 * names and values into a ring. Nobody reads the ring, nothing survives anything, and only floats are understood. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As large as the journal of a run, or the processor's caches would help the floor and not the subject. */
enum { RING_BYTES = 8 << 20, LARGEST_CALL_BYTES = 1 << 16 };

static char *ring;
static uint64_t written;

struct call {
    int64_t time_ns;
    int64_t step;
    uint32_t rows;
    uint32_t bytes;
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static PyObject *floor_log(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    if (count != 1 || !PyDict_CheckExact(args[0]) || keywords == NULL || PyTuple_GET_SIZE(keywords) != 1) {
        PyErr_SetString(PyExc_TypeError, "log(dict, *, step)");
        return NULL;
    }
    struct call call = {now_ns(), PyLong_AsLongLong(args[1]), 0, 0};
    if (call.step == -1 && PyErr_Occurred()) return NULL;
    uint64_t start = written & (RING_BYTES - 1);
    char *at = ring + start + sizeof call;
    char *end = ring + start + LARGEST_CALL_BYTES;
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next(args[0], &position, &key, &value)) {
        Py_ssize_t length;
        const char *name = PyUnicode_AsUTF8AndSize(key, &length);
        if (name == NULL) return NULL;
        double number = PyFloat_AsDouble(value);
        if (number == -1.0 && PyErr_Occurred()) return NULL;
        if (end - at < length + 16) {
            PyErr_SetString(PyExc_ValueError, "too many metrics");
            return NULL;
        }
        uint16_t short_length = (uint16_t)length;
        memcpy(at, &short_length, sizeof short_length);
        memcpy(at + 2, &number, sizeof number);
        memcpy(at + 10, name, (size_t)length);
        at += 10 + length;
        call.rows++;
    }
    call.bytes = (uint32_t)(at - ring - start + 7) & ~7u;
    memcpy(ring + start, &call, sizeof call);
    __atomic_store_n(&written, written + call.bytes, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

/* Rows of the last call, for whoever wants to see that something was copied. */
static PyObject *floor_written(PyObject *module, PyObject *nothing) {
    (void)module;
    (void)nothing;
    return PyLong_FromUnsignedLongLong(written);
}

static PyObject *floor_nothing(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    (void)args;
    (void)count;
    (void)keywords;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"log", (PyCFunction)(void (*)(void))floor_log, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"nothing", (PyCFunction)(void (*)(void))floor_nothing, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"written", floor_written, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "floor_module", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_floor_module(void) {
    ring = malloc(RING_BYTES + LARGEST_CALL_BYTES);
    if (ring == NULL) return PyErr_NoMemory();
    /* Not zeros: pages of zeros would be given out at the first store only. */
    memset(ring, 1, RING_BYTES + LARGEST_CALL_BYTES);
    return PyModule_Create(&definition);
}

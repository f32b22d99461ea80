/* The dispatcher's fast path: calls the handlers of messages one after another, as Dispatcher.dispatch does in Python.

   A message that is none, a dispatcher that leaves its fastest mode, and a handler that does not return None end it: what
   comes of that is in dispatcher.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct {
    PyObject *type, *key, *mode; /* names of attributes */
} State;

static PyObject *
raised(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
#endif
}

/* The handler of a message: a new reference. */
static PyObject *
handler_of(const State *state, PyObject *message, PyObject *handlers, PyObject *other)
{
    PyObject *type = PyObject_GetAttr(message, state->type);
    PyObject *key = type == NULL ? NULL : PyObject_GetAttr(type, state->key);
    Py_XDECREF(type);
    if (key == NULL) {
        return NULL;
    }
    PyObject *handler = PyDict_GetItemWithError(handlers, key);
    Py_DECREF(key);
    return handler != NULL ? Py_NewRef(handler) : PyErr_Occurred() ? NULL : Py_NewRef(other);
}

static int
in_mode(const State *state, PyObject *dispatcher, PyObject *wanted)
{
    PyObject *mode = PyObject_GetAttr(dispatcher, state->mode);
    Py_XDECREF(mode);
    return mode == NULL ? -1 : mode == wanted;
}

static PyObject *
call_handlers(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    const State *state = PyModule_GetState(module);
    if (count != 7 || !PyList_Check(arguments[0]) || !PyDict_Check(arguments[2]) || !PyType_Check(arguments[5])) {
        PyErr_SetString(PyExc_TypeError,
                        "events, session, handlers, the handler of other types, dispatcher, the class of messages, a mode");
        return NULL;
    }
    PyObject *events = arguments[0];
    Py_ssize_t done = 0;
    while (done < PyList_GET_SIZE(events)) {
        PyObject *message = PyList_GET_ITEM(events, done);
        int goes_on = PyObject_TypeCheck(message, (PyTypeObject *)arguments[5]) ? in_mode(state, arguments[4], arguments[6]) : 0;
        if (goes_on <= 0) {
            return goes_on < 0 ? NULL : PyLong_FromSsize_t(done);
        }
        PyObject *handler = handler_of(state, message, arguments[2], arguments[3]);
        if (handler == NULL) {
            return NULL;
        }
        PyObject *given[2] = {arguments[1], Py_NewRef(message)};
        PyObject *result = PyObject_Vectorcall(handler, given, 2, NULL);
        Py_DECREF(message);
        Py_DECREF(handler);
        done += 1;
        if (result == NULL) {
            return Py_BuildValue("nON", done, Py_None, raised());
        }
        if (result != Py_None) {
            return Py_BuildValue("nNO", done, result, Py_None);
        }
        Py_DECREF(result);
    }
    return PyLong_FromSsize_t(done);
}

PyDoc_STRVAR(call_handlers_doc,
             "Calls the handlers of messages while the dispatcher is in a mode: events, session, handlers, handler of other types,\n"
             "dispatcher, class of messages, mode.\n\n"
             "Returns how many are done with, or a tuple: that, what the last handler returned, what it raised.");

static PyMethodDef dispatch_methods[] = {
    {"call_handlers", (PyCFunction)(void (*)(void))call_handlers, METH_FASTCALL, call_handlers_doc},
    {NULL, NULL, 0, NULL},
};

/* Module. */

static int
dispatch_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->type = PyUnicode_InternFromString("type");
    state->key = PyUnicode_InternFromString("key");
    state->mode = PyUnicode_InternFromString("mode");
    if (state->type == NULL || state->key == NULL || state->mode == NULL) {
        return -1;
    }
    PyObject *names = Py_BuildValue("[s]", "call_handlers");
    int failed = names == NULL || PyModule_AddObjectRef(module, "__all__", names) < 0;
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static void
dispatch_free(void *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->type);
    Py_CLEAR(state->key);
    Py_CLEAR(state->mode);
}

static PyModuleDef_Slot dispatch_slots[] = {
    {Py_mod_exec, dispatch_exec},
    {0, NULL},
};

static PyModuleDef dispatch_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "veltix_tx.net.session._dispatch",
    .m_doc = "The dispatcher's compiled fast path; see veltix_tx.net.session.dispatcher.",
    .m_size = sizeof(State),
    .m_methods = dispatch_methods,
    .m_slots = dispatch_slots,
    .m_free = dispatch_free,
};

PyMODINIT_FUNC
PyInit__dispatch(void)
{
    return PyModuleDef_Init(&dispatch_module);
}

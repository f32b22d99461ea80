/* The dispatcher's fast path: calls the handlers of messages one after another, as Dispatcher.dispatch does in Python.

   A message that is none, a dispatcher that leaves its fastest mode, and a handler that does not return None end it: what
   comes of that is in dispatcher.py. */

#define PY_SSIZE_T_CLEAN
#include "../../wire/_slots.h"

/* An attribute, and where instances of the class that was last asked for it keep it: 0 for one of whose slots it is none. */
typedef struct {
    PyObject *name;
    PyTypeObject *owner;
    Py_ssize_t offset;
} Attribute;

enum { TYPE, KEY, MODE, ATTRIBUTES };
static const char *const attribute_names[ATTRIBUTES] = {"type", "key", "mode"};

typedef struct {
    Attribute attributes[ATTRIBUTES];
} State;

/* The value of an attribute: a new reference. */
static PyObject *
value_of(PyObject *object, Attribute *attribute)
{
    if (Py_TYPE(object) != attribute->owner) {
        Py_ssize_t offset = find_slot(Py_TYPE(object), PyUnicode_AsUTF8(attribute->name));
        PyErr_Clear();
        attribute->offset = offset > 0 ? offset : 0;
        Py_XSETREF(attribute->owner, (PyTypeObject *)Py_NewRef(Py_TYPE(object)));
    }
    PyObject *value = attribute->offset ? SLOT_AT(object, attribute->offset) : NULL;
    return value != NULL ? Py_NewRef(value) : PyObject_GetAttr(object, attribute->name);
}

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
handler_of(State *state, PyObject *message, PyObject *handlers, PyObject *other)
{
    PyObject *type = value_of(message, &state->attributes[TYPE]);
    PyObject *key = type == NULL ? NULL : value_of(type, &state->attributes[KEY]);
    Py_XDECREF(type);
    if (key == NULL) {
        return NULL;
    }
    PyObject *handler = PyDict_GetItemWithError(handlers, key);
    Py_DECREF(key);
    return handler != NULL ? Py_NewRef(handler) : PyErr_Occurred() ? NULL : Py_NewRef(other);
}

static int
in_mode(State *state, PyObject *dispatcher, PyObject *wanted)
{
    PyObject *mode = value_of(dispatcher, &state->attributes[MODE]);
    Py_XDECREF(mode);
    return mode == NULL ? -1 : mode == wanted;
}

static PyObject *
call_handlers(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    State *state = PyModule_GetState(module);
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
    for (int each = 0; each < ATTRIBUTES; each++) {
        state->attributes[each].name = PyUnicode_InternFromString(attribute_names[each]);
        if (state->attributes[each].name == NULL) {
            return -1;
        }
    }
    PyObject *names = Py_BuildValue("[s]", "call_handlers");
    int failed = names == NULL || PyModule_AddObjectRef(module, "__all__", names) < 0;
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static int
dispatch_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    for (int each = 0; each < ATTRIBUTES; each++) {
        Py_VISIT(state->attributes[each].owner);
    }
    return 0;
}

static int
dispatch_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    for (int each = 0; each < ATTRIBUTES; each++) {
        Py_CLEAR(state->attributes[each].owner);
        Py_CLEAR(state->attributes[each].name);
    }
    return 0;
}

static void
dispatch_free(void *module)
{
    dispatch_clear(module);
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
    .m_traverse = dispatch_traverse,
    .m_clear = dispatch_clear,
    .m_free = dispatch_free,
};

PyMODINIT_FUNC
PyInit__dispatch(void)
{
    return PyModuleDef_Init(&dispatch_module);
}

/* Messages of contents that one read has brought, many at once. */

#define PY_SSIZE_T_CLEAN
#include "_slots.h"

enum { MOST_FIXED = 8 };

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyTypeObject *message;
    Py_ssize_t content, received_at; /* where a message keeps what */
    int ascii, fixed;
    Py_ssize_t offsets[MOST_FIXED];
    PyObject *values[MOST_FIXED]; /* what is alike in all messages */
} Maker;

static int
fits(const Maker *self, PyObject *content)
{
    if (!PyBytes_CheckExact(content)) {
        return 0;
    }
    unsigned char seen = 0;
    if (self->ascii) {
        const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(content);
        for (Py_ssize_t at = 0; at < PyBytes_GET_SIZE(content); at++) {
            seen |= bytes[at];
        }
    }
    return seen < 0x80;
}

static PyObject *
message_of(const Maker *self, PyObject *content, PyObject *received_at)
{
    PyObject *message = self->message->tp_alloc(self->message, 0);
    if (message != NULL) {
        SLOT_AT(message, self->content) = Py_NewRef(content);
        SLOT_AT(message, self->received_at) = Py_NewRef(received_at);
        for (int each = 0; each < self->fixed; each++) {
            SLOT_AT(message, self->offsets[each]) = Py_NewRef(self->values[each]);
        }
    }
    return message;
}

static PyObject *
maker_call(PyObject *callable, PyObject *const *arguments, size_t flags, PyObject *names)
{
    const Maker *self = (Maker *)callable;
    if (PyVectorcall_NARGS(flags) != 2 || names != NULL || !PyList_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "a list of contents, received_at");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(arguments[0]);
    for (Py_ssize_t at = 0; at < count; at++) {
        if (!fits(self, PyList_GET_ITEM(arguments[0], at))) {
            Py_RETURN_NONE;
        }
    }
    PyObject *messages = PyList_New(count);
    for (Py_ssize_t at = 0; messages != NULL && at < count; at++) {
        /* The collector may run code here that changes the list. */
        PyObject *content = at < PyList_GET_SIZE(arguments[0]) ? PyList_GET_ITEM(arguments[0], at) : Py_None;
        PyObject *message = message_of(self, content, arguments[1]);
        if (message == NULL) {
            Py_CLEAR(messages);
            break;
        }
        PyList_SET_ITEM(messages, at, message);
    }
    return messages;
}

static int
add_fixed(Maker *self, PyObject *fixed)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(fixed, &position, &name, &value)) {
        const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        if (text == NULL || self->fixed == MOST_FIXED) {
            PyErr_SetString(PyExc_TypeError, "what is alike in all messages has at most 8 names");
            return -1;
        }
        Py_ssize_t offset = need_slot(self->message, text);
        if (offset < 0) {
            return -1;
        }
        self->offsets[self->fixed] = offset;
        self->values[self->fixed++] = Py_NewRef(value);
    }
    return 0;
}

static PyObject *
maker_new(PyTypeObject *type, PyObject *arguments, PyObject *Py_UNUSED(names))
{
    PyObject *message, *fixed;
    int ascii;
    if (!PyArg_ParseTuple(arguments, "O!O!p:Maker", &PyType_Type, &message, &PyDict_Type, &fixed, &ascii)) {
        return NULL;
    }
    Maker *self = (Maker *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = maker_call;
    self->message = (PyTypeObject *)Py_NewRef(message);
    self->ascii = ascii;
    self->content = need_slot(self->message, "content");
    self->received_at = self->content < 0 ? -1 : need_slot(self->message, "received_at");
    if (self->received_at < 0 || add_fixed(self, fixed) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* No tp_clear, as with tuples: what is held never changes, and a cycle is broken elsewhere. */
static int
maker_traverse(PyObject *object, visitproc visit, void *arg)
{
    Maker *self = (Maker *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->message);
    for (int each = 0; each < self->fixed; each++) {
        Py_VISIT(self->values[each]);
    }
    return 0;
}

static void
maker_dealloc(PyObject *object)
{
    Maker *self = (Maker *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->message);
    for (int each = 0; each < self->fixed; each++) {
        Py_DECREF(self->values[each]);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef maker_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Maker, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(maker_doc,
             "Makes messages of contents: a list of contents, received_at -> a list of messages.\n\n"
             "Returns None where one of the contents is not bytes, or not ASCII and has to be.\n\n"
             "Made of: message class, slots and values that are alike in all messages, whether contents have to be ASCII.");

static PyType_Slot maker_slots[] = {
    {Py_tp_new, maker_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, maker_traverse},
    {Py_tp_dealloc, maker_dealloc},
    {Py_tp_members, maker_members},
    {Py_tp_doc, (void *)maker_doc},
    {0, NULL},
};

static PyType_Spec maker_spec = {
    .name = "veltix_tx.wire._messages.Maker",
    .basicsize = sizeof(Maker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = maker_slots,
};

/* Module. */

static int
messages_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &maker_spec, NULL);
    int failed = type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0;
    Py_XDECREF(type);
    PyObject *names = failed ? NULL : Py_BuildValue("[s]", "Maker");
    failed = names == NULL || PyModule_AddObjectRef(module, "__all__", names) < 0;
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot messages_slots[] = {
    {Py_mod_exec, messages_exec},
    {0, NULL},
};

static PyModuleDef messages_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "veltix_tx.wire._messages",
    .m_doc = "Messages made in one call; see veltix_tx.wire.plain.connection.",
    .m_size = 0,
    .m_slots = messages_slots,
};

PyMODINIT_FUNC
PyInit__messages(void)
{
    return PyModuleDef_Init(&messages_module);
}

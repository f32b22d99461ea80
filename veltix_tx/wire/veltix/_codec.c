/* The compiled codec: the ordinary frames of the layouts with a CRC-32, in one go.

   The rules stand once, in frames.py. A Decoder makes messages of as many whole, sound frames of known user types
   as follow each other, and stops in front of the first thing that is anything else: a part of a frame, a system
   code, a wrong checksum or magic, an unknown type, a size over the limit. What becomes of that is not known here.

   A header, whatever its layout:  [VX [flags]]  code u16  size u32  CRC-32 u32  [clock u64]  request id u16 or u32 */

#define PY_SSIZE_T_CLEAN
#include "../_slots.h"
#include "_crc32.h"

#define MAGIC_0 'V'
#define MAGIC_1 'X'

static uint32_t
be16(const unsigned char *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t
be32(const unsigned char *at)
{
    return be16(at) << 16 | be16(at + 2);
}

static unsigned char *
put_be(unsigned char *at, uint64_t value, int size)
{
    for (int byte = size - 1; byte >= 0; byte--, value >>= 8) {
        at[byte] = (unsigned char)value;
    }
    return at + size;
}

/* A number of a frame and its object: frames that follow each other have the same ms, and those that ask nothing the same id. */
typedef struct {
    uint64_t value;
    PyObject *object;
} Number;

/* A new reference to the object of a number, which is that of the last where they are equal; NULL with an error. */
static PyObject *
object_of(uint64_t value, Number *last)
{
    if (value != last->value || last->object == NULL) {
        Py_XSETREF(last->object, PyLong_FromUnsignedLongLong(value));
        last->value = value;
    }
    return Py_XNewRef(last->object);
}

/* Layouts. */

typedef struct {
    int header_size;
    int code_at; /* 0 without a magic; 2 or 3 behind one */
    int id_size; /* 2 or 4 */
    int clock;
} Layout;

static int
layout_check(Layout *layout)
{
    if ((layout->id_size == 2 || layout->id_size == 4) && layout->header_size > 0 && layout->header_size < 100) {
        layout->code_at = layout->header_size - layout->id_size - (layout->clock ? 8 : 0) - 10;
        if (layout->code_at == 0 || layout->code_at == 2 || layout->code_at == 3) {
            return 0;
        }
    }
    PyErr_SetString(PyExc_ValueError, "no such layout");
    return -1;
}

/* Decoder. */

enum { TYPE, CONTENT, REQUEST_ID, DIGEST, RECEIVED_AT, TIMESTAMP, VALUE, SLOTS };
static const char *const slot_names[SLOTS] = {"type", "content", "request_id", "digest", "received_at", "timestamp", "_value"};

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Layout layout;
    uint32_t first_code;
    int64_t max_content;
    PyObject *lookup;
    PyTypeObject *message;
    PyObject *unset;         /* the value of a message that is not decoded yet */
    Py_ssize_t slots[SLOTS]; /* where a message keeps what */
} Decoder;

/* Looked up once per run and code; eight codes at a time. */
typedef struct {
    uint32_t code;
    PyObject *type;
} Known;
enum { KNOWN = 8 };

static PyObject *
known_type(const Decoder *self, Known *known, uint32_t code)
{
    Known *place = &known[code % KNOWN];
    if (place->type == NULL || place->code != code) {
        PyObject *number = PyLong_FromUnsignedLong(code);
        if (number == NULL) {
            return NULL;
        }
        PyObject *found = PyObject_CallOneArg(self->lookup, number);
        Py_DECREF(number);
        if (found == NULL) {
            return NULL;
        }
        place->code = code;
        Py_XSETREF(place->type, found);
    }
    return place->type;
}

#define SLOT(message, self, name) SLOT_AT(message, (self)->slots[name])

/* A new reference; NULL with an error. */
static PyObject *
timestamp_of(const Decoder *self, const unsigned char *code_at, Number *last)
{
    uint64_t ms = self->layout.clock ? (uint64_t)be32(code_at + 10) << 32 | be32(code_at + 14) : 0;
    return ms == 0 ? Py_NewRef(Py_None) : object_of(ms, last);
}

typedef struct {
    Number ms, id;
} Last;

static PyObject *
message_of(const Decoder *self, const unsigned char *frame, uint32_t size, PyObject *type, PyObject *received_at, Last *last)
{
    const unsigned char *code_at = frame + self->layout.code_at;
    const unsigned char *id_at = frame + self->layout.header_size - self->layout.id_size;
    PyObject *message = self->message->tp_alloc(self->message, 0);
    if (message == NULL) {
        return NULL;
    }
    PyObject *content = PyBytes_FromStringAndSize((const char *)frame + self->layout.header_size, (Py_ssize_t)size);
    PyObject *request_id = object_of(self->layout.id_size == 2 ? be16(id_at) : be32(id_at), &last->id);
    PyObject *digest = PyLong_FromUnsignedLong(be32(code_at + 6));
    PyObject *timestamp = timestamp_of(self, code_at, &last->ms);
    SLOT(message, self, TYPE) = Py_NewRef(type);
    SLOT(message, self, CONTENT) = content;
    SLOT(message, self, REQUEST_ID) = request_id;
    SLOT(message, self, DIGEST) = digest;
    SLOT(message, self, RECEIVED_AT) = Py_NewRef(received_at);
    SLOT(message, self, TIMESTAMP) = timestamp;
    SLOT(message, self, VALUE) = Py_NewRef(self->unset);
    if (content == NULL || request_id == NULL || digest == NULL || timestamp == NULL) {
        Py_DECREF(message);
        return NULL;
    }
    return message;
}

static Py_ssize_t
decode(const Decoder *self, PyObject *data, Py_ssize_t position, PyObject *received_at, PyObject *events, Known *known,
       Last *last)
{
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(data);
    const Py_ssize_t end = PyBytes_GET_SIZE(data), header_size = self->layout.header_size;
    const int code_at = self->layout.code_at;
    while (end - position >= header_size) {
        const unsigned char *frame = bytes + position;
        uint32_t code = be16(frame + code_at), size = be32(frame + code_at + 2);
        if ((code_at && (frame[0] != MAGIC_0 || frame[1] != MAGIC_1)) || code < self->first_code
            || (int64_t)size > self->max_content || (uint64_t)size > (uint64_t)(end - position - header_size)
            || crc32_of(frame + header_size, size) != be32(frame + code_at + 6)) {
            break;
        }
        PyObject *type = known_type(self, known, code);
        if (type == NULL) {
            return -1;
        }
        if (type == Py_None) {
            break;
        }
        PyObject *message = message_of(self, frame, size, type, received_at, last);
        if (message == NULL) {
            return -1;
        }
        int failed = PyList_Append(events, message);
        Py_DECREF(message);
        if (failed) {
            return -1;
        }
        position += header_size + (Py_ssize_t)size;
    }
    return position;
}

static PyObject *
decoder_call(PyObject *callable, PyObject *const *arguments, size_t flags, PyObject *names)
{
    if (PyVectorcall_NARGS(flags) != 4 || names != NULL || !PyBytes_Check(arguments[0]) || !PyList_Check(arguments[3])) {
        PyErr_SetString(PyExc_TypeError, "a decoder takes bytes, a position, a time and a list");
        return NULL;
    }
    Py_ssize_t position = PyLong_AsSsize_t(arguments[1]);
    if (position < 0 || position > PyBytes_GET_SIZE(arguments[0])) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "the position is outside the data");
        }
        return NULL;
    }
    Known known[KNOWN] = {{0, NULL}};
    Last last = {{0, NULL}, {0, NULL}};
    position = decode((Decoder *)callable, arguments[0], position, arguments[2], arguments[3], known, &last);
    Py_XDECREF(last.ms.object);
    Py_XDECREF(last.id.object);
    for (int place = 0; place < KNOWN; place++) {
        Py_XDECREF(known[place].type);
    }
    return position < 0 ? NULL : PyLong_FromSsize_t(position);
}

static int
find_slots(Decoder *self)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        self->slots[slot] = need_slot(self->message, slot_names[slot]);
        if (self->slots[slot] < 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
decoder_new(PyTypeObject *type, PyObject *arguments, PyObject *Py_UNUSED(names))
{
    Layout layout;
    long long max_content;
    unsigned int first_code;
    PyObject *lookup, *message, *unset;
    if (!PyArg_ParseTuple(arguments, "iipLIOO!O:Decoder", &layout.header_size, &layout.id_size, &layout.clock, &max_content,
                          &first_code, &lookup, &PyType_Type, &message, &unset)
        || layout_check(&layout) < 0) {
        return NULL;
    }
    Decoder *self = (Decoder *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = decoder_call;
    self->layout = layout;
    self->first_code = first_code;
    self->max_content = max_content;
    self->lookup = Py_NewRef(lookup);
    self->message = (PyTypeObject *)Py_NewRef(message);
    self->unset = Py_NewRef(unset);
    if (find_slots(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Nothing here has a tp_clear, as with tuples: what is held never changes, and a cycle is broken elsewhere. */
static int
decoder_traverse(PyObject *object, visitproc visit, void *arg)
{
    Decoder *self = (Decoder *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->lookup);
    Py_VISIT(self->message);
    Py_VISIT(self->unset);
    return 0;
}

static void
decoder_dealloc(PyObject *object)
{
    Decoder *self = (Decoder *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->lookup);
    Py_XDECREF(self->message);
    Py_XDECREF(self->unset);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef decoder_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Decoder, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(decoder_doc,
             "Makes messages of the ordinary frames at a position: data, position, received_at, events -> new position.\n\n"
             "Made of: header size, id size, clock, most bytes of a content, first code that is decoded, lookup, message class,\n"
             "the value of a message that is not decoded yet.");

static PyType_Slot decoder_slots[] = {
    {Py_tp_new, decoder_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, decoder_traverse},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_members, decoder_members},
    {Py_tp_doc, (void *)decoder_doc},
    {0, NULL},
};

static PyType_Spec decoder_spec = {
    .name = "veltix_tx.wire.veltix._codec.Decoder",
    .basicsize = sizeof(Decoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = decoder_slots,
};

/* Encoder. */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Layout layout;
    PyObject *clock; /* NULL for a layout without one */
    Py_ssize_t kept; /* where a clock that is read once a turn keeps the ms, 0 for one that is called for each frame */
    Number last;     /* the ms of the last frame */
    int64_t most;    /* bytes of a content that queue() is for */
} Encoder;

/* A whole number up to a limit. Whatever else it is, the error is the one for a number that does not fit. */
static int
as_unsigned(PyObject *object, uint64_t limit, uint64_t *value)
{
    PyObject *number = PyNumber_Index(object);
    unsigned long long found = number == NULL ? 0 : PyLong_AsUnsignedLongLong(number);
    Py_XDECREF(number);
    if (PyErr_Occurred() || found > limit) {
        PyErr_Clear();
        PyErr_Format(PyExc_OverflowError, "%R does not fit into the header", object);
        return -1;
    }
    *value = found;
    return 0;
}

/* The ms of a clock: those it keeps, where it keeps some for a turn, else what it returns. */
static int
clock_ms(Encoder *self, uint64_t *ms)
{
    PyObject *number = self->kept ? *(PyObject **)((char *)self->clock + self->kept) : NULL;
    if (number != NULL && number == self->last.object) {
        *ms = self->last.value;
        return 0;
    }
    if (number != NULL && PyLong_CheckExact(number)) {
        Py_INCREF(number);
    } else {
        number = self->kept ? PyObject_CallMethod(self->clock, "keep", NULL) : PyObject_CallNoArgs(self->clock);
    }
    if (number == NULL || as_unsigned(number, UINT64_MAX, ms) < 0) {
        Py_XDECREF(number);
        return -1;
    }
    self->last.value = *ms;
    Py_XSETREF(self->last.object, number);
    return 0;
}

/* The frame of a type code, a content, which is bytes, and a request id: a new reference. */
static PyObject *
frame_of(Encoder *self, PyObject *code_number, PyObject *content, PyObject *id_number)
{
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(content);
    const Py_ssize_t size = PyBytes_GET_SIZE(content);
    uint64_t code, request_id, ms = 0;
    if ((uint64_t)size > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "the content does not fit into a frame");
        return NULL;
    }
    if (as_unsigned(code_number, UINT16_MAX, &code) < 0
        || as_unsigned(id_number, self->layout.id_size == 2 ? UINT16_MAX : UINT32_MAX, &request_id) < 0) {
        return NULL;
    }
    if (self->clock != NULL && clock_ms(self, &ms) < 0) {
        return NULL;
    }

    PyObject *frame = PyBytes_FromStringAndSize(NULL, self->layout.header_size + size);
    if (frame == NULL) {
        return NULL;
    }
    unsigned char *at = (unsigned char *)PyBytes_AS_STRING(frame);
    if (self->layout.code_at) {
        at[0] = MAGIC_0, at[1] = MAGIC_1, at[2] = 0;
        at += self->layout.code_at;
    }
    at = put_be(at, code, 2);
    at = put_be(at, (uint64_t)size, 4);
    at = put_be(at, crc32_of(bytes, (size_t)size), 4);
    at = put_be(at, ms, self->clock != NULL ? 8 : 0);
    at = put_be(at, request_id, self->layout.id_size);
    memcpy(at, bytes, (size_t)size);
    return frame;
}

static PyObject *
encoder_call(PyObject *callable, PyObject *const *arguments, size_t flags, PyObject *names)
{
    if (PyVectorcall_NARGS(flags) != 3 || names != NULL || !PyBytes_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "an encoder takes a type code, bytes and a request id");
        return NULL;
    }
    return frame_of((Encoder *)callable, arguments[0], arguments[1], arguments[2]);
}

static PyObject *
encoder_queue(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Encoder *self = (Encoder *)object;
    if (count != 4 || !PyList_Check(arguments[0]) || !PyBytes_Check(arguments[2])) {
        PyErr_SetString(PyExc_TypeError, "queue() takes a list, a type code, bytes and a request id");
        return NULL;
    }
    if ((int64_t)PyBytes_GET_SIZE(arguments[2]) > self->most) {
        return PyLong_FromLong(0);
    }
    PyObject *frame = frame_of(self, arguments[1], arguments[2], arguments[3]);
    if (frame == NULL && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        return PyLong_FromLong(0);
    }
    int failed = frame == NULL || PyList_Append(arguments[0], frame) < 0;
    Py_ssize_t size = failed ? 0 : PyBytes_GET_SIZE(frame);
    Py_XDECREF(frame);
    return failed ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *
encoder_new(PyTypeObject *type, PyObject *arguments, PyObject *Py_UNUSED(names))
{
    Layout layout;
    PyObject *clock;
    int turned = 0;
    long long most = UINT32_MAX;
    if (!PyArg_ParseTuple(arguments, "iiO|pL:Encoder", &layout.header_size, &layout.id_size, &clock, &turned, &most)) {
        return NULL;
    }
    layout.clock = clock != Py_None;
    if (layout_check(&layout) < 0) {
        return NULL;
    }
    Py_ssize_t kept = layout.clock && turned ? find_slot(Py_TYPE(clock), "ms") : 0;
    if (kept < 0) {
        return NULL;
    }
    Encoder *self = (Encoder *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = encoder_call;
    self->layout = layout;
    self->clock = layout.clock ? Py_NewRef(clock) : NULL;
    self->kept = kept;
    self->most = most;
    return (PyObject *)self;
}

static int
encoder_traverse(PyObject *object, visitproc visit, void *arg)
{
    Encoder *self = (Encoder *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->clock);
    return 0;
}

static void
encoder_dealloc(PyObject *object)
{
    Encoder *self = (Encoder *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->clock);
    Py_XDECREF(self->last.object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef encoder_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Encoder, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(encoder_doc,
             "Makes frames: type code, content, request id -> frame.\n\n"
             "Made of: header size, id size, clock or None, whether that keeps its ms for a turn (a TurnClock), and the most bytes of\n"
             "a content that queue() is for.");

PyDoc_STRVAR(queue_doc,
             "queue(out, code, content, request_id)\n\nAdds a frame to a list and returns its size; 0, nothing having been added, "
             "for one that is too long or fits no header.");

static PyMethodDef encoder_methods[] = {
    {"queue", (PyCFunction)(void (*)(void))encoder_queue, METH_FASTCALL, queue_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot encoder_slots[] = {
    {Py_tp_new, encoder_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, encoder_traverse},
    {Py_tp_dealloc, encoder_dealloc},
    {Py_tp_members, encoder_members},
    {Py_tp_methods, encoder_methods},
    {Py_tp_doc, (void *)encoder_doc},
    {0, NULL},
};

static PyType_Spec encoder_spec = {
    .name = "veltix_tx.wire.veltix._codec.Encoder",
    .basicsize = sizeof(Encoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = encoder_slots,
};

/* Checksums. */

#define CRC32_UNLOCKED (64 * 1024) /* bytes from which other threads may run meanwhile */

static PyObject *
codec_crc32(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    unsigned int before = 0;
    if (!PyArg_ParseTuple(args, "y*|I:crc32", &data, &before)) {
        return NULL;
    }
    uint32_t crc;
    if (data.len < CRC32_UNLOCKED) {
        crc = crc32_after(before, data.buf, (size_t)data.len);
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        crc = crc32_after(before, data.buf, (size_t)data.len);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

static PyMethodDef codec_functions[] = {
    {"crc32", codec_crc32, METH_VARARGS, "crc32(data, value=0)\n\nAs zlib's, in a third of its time."},
    {NULL, NULL, 0, NULL},
};

/* Module. */

static int
codec_exec(PyObject *module)
{
    crc32_prepare();
    PyType_Spec *specs[] = {&decoder_spec, &encoder_spec};
    for (int each = 0; each < 2; each++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[each], NULL);
        int failed = type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0;
        Py_XDECREF(type);
        if (failed) {
            return -1;
        }
    }
    PyObject *names = Py_BuildValue("[sss]", "Decoder", "Encoder", "crc32");
    int failed = names == NULL || PyModule_AddObjectRef(module, "__all__", names) < 0;
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot codec_slots[] = {
    {Py_mod_exec, codec_exec},
    {0, NULL},
};

static PyModuleDef codec_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "veltix_tx.wire.veltix._codec",
    .m_doc = "The compiled codec; see veltix_tx.wire.veltix.codec.",
    .m_size = 0,
    .m_methods = codec_functions,
    .m_slots = codec_slots,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
    return PyModuleDef_Init(&codec_module);
}

/* Slots of messages: where instances of a class of Python's keep what. */

#ifndef VELTIX_TX_SLOTS_H
#define VELTIX_TX_SLOTS_H

#include <Python.h>
#include <structmember.h>

#define SLOT_AT(message, offset) (*(PyObject **)((char *)(message) + (offset)))

/* Where instances of a class keep a slot, of its own or of a class below it: 0 for what is not surely an object reference of theirs,
   -1 with an error. */
static inline Py_ssize_t
find_slot(PyTypeObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL) {
        return -1;
    }
    PyMemberDef *member = Py_IS_TYPE(found, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)found)->d_member : NULL;
    int fits = member != NULL && PyType_IsSubtype(type, ((PyMemberDescrObject *)found)->d_common.d_type)
               && member->type == T_OBJECT_EX && member->offset >= (Py_ssize_t)sizeof(PyObject)
               && member->offset <= type->tp_basicsize - (Py_ssize_t)sizeof(PyObject *);
    Py_ssize_t offset = fits ? member->offset : 0;
    Py_DECREF(found);
    return offset;
}

/* The same, where an offset that is none is a TypeError: -1 then. */
static inline Py_ssize_t
need_slot(PyTypeObject *type, const char *name)
{
    Py_ssize_t offset = find_slot(type, name);
    if (offset == 0) {
        PyErr_Format(PyExc_TypeError, "%s of a message is no slot", name);
        return -1;
    }
    return offset;
}

#endif

/* An XLA custom call that sleeps, as a device does that computes: it takes time and no processor. */
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include "xla/ffi/api/c_api.h"

static XLA_FFI_Error* told(XLA_FFI_Metadata_Extension* extension) {
  extension->metadata->api_version = (XLA_FFI_Api_Version){
      XLA_FFI_Api_Version_STRUCT_SIZE, NULL, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  return NULL;
}

XLA_FFI_Error* Sleep(XLA_FFI_CallFrame* frame) {
  if (frame->extension_start != NULL && frame->extension_start->type == XLA_FFI_Extension_Metadata)
    return told((XLA_FFI_Metadata_Extension*)frame->extension_start);
  int64_t us = *(int64_t*)((XLA_FFI_Scalar*)frame->attrs.attrs[0])->value;
  XLA_FFI_Buffer* from = (XLA_FFI_Buffer*)frame->args.args[0];
  XLA_FFI_Buffer* to = (XLA_FFI_Buffer*)frame->rets.rets[0];
  size_t bytes = sizeof(float);
  for (int64_t axis = 0; axis < from->rank; axis++) bytes *= from->dims[axis];
  for (size_t at = 0; at < bytes; at++) ((char*)to->data)[at] = ((char*)from->data)[at];
  struct timespec left = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&left, NULL);
  return NULL;
}

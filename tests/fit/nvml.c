/* A libnvidia-ml that tells what a file says, one device a line:
 *   name;uuid;total;reserved;used;busy;mig;parent
 * busy -1: not supported. mig 1: divided; its MIG devices are lines with its number as parent.
 * With -DOLD it is a library of before nvmlDeviceGetMemoryInfo_v2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char name[96], uuid[96]; unsigned long long total, reserved, used; int busy, mig, parent; } Device;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;

static Device devices[32];

static int load(void) {
  FILE *file = fopen(getenv("NVIDIA_STAND_IN"), "r");
  int n = 0;
  if (!file) return 0;
  while (n < 32 && fscanf(file, " %95[^;];%95[^;];%llu;%llu;%llu;%d;%d;%d", devices[n].name, devices[n].uuid,
         &devices[n].total, &devices[n].reserved, &devices[n].used, &devices[n].busy, &devices[n].mig, &devices[n].parent) == 8) n++;
  fclose(file);
  return n;
}
static Device *at(void *handle) { load(); return &devices[(long)handle - 1]; }
static int nth(int parent, unsigned index, void **handle) {
  int n = load(), i;
  for (i = 0; i < n; i++)
    if (devices[i].parent == parent && index-- == 0) { *handle = (void *)(long)(i + 1); return 0; }
  return 6; /* NVML_ERROR_NOT_FOUND */
}
int nvmlInit_v2(void) { return getenv("NVIDIA_STAND_IN") ? 0 : 9; /* NVML_ERROR_DRIVER_NOT_LOADED */ }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) {
  int n = load(), i;
  for (*count = 0, i = 0; i < n; i++) *count += devices[i].parent < 0;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { return nth(-1, index, handle); }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
  int n = load(), i;
  for (i = 0; i < n; i++)
    if (!strcmp(devices[i].uuid, uuid)) { *handle = (void *)(long)(i + 1); return 0; }
  return 6;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) { strncpy(name, at(handle)->name, length); return 0; }
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
  *current = *pending = at(handle)->mig;
  return at(handle)->parent < 0 ? 0 : 3;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **part) { return nth((long)handle - 1, index, part); }
int nvmlDeviceGetUtilizationRates(void *handle, Utilization *rates) {
  if (at(handle)->busy < 0) return 3; /* NVML_ERROR_NOT_SUPPORTED */
  rates->gpu = at(handle)->busy;
  rates->memory = 0;
  return 0;
}
#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory) {
  Device *d = at(handle);
  if (memory->version != (sizeof(MemoryV2) | 2u << 24)) return 25; /* NVML_ERROR_ARGUMENT_VERSION_MISMATCH */
  memory->total = d->total; memory->reserved = d->reserved; memory->used = d->used;
  memory->free = d->total - d->used - d->reserved;
  return 0;
}
#endif
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
  Device *d = at(handle);
  memory->total = d->total; memory->used = d->used + d->reserved; memory->free = d->total - memory->used;
  return 0;
}

/* As much of NVIDIA's management library as the sampler asks for. The file named by FAKE_NVML says how it behaves, a
   word and a number in each line, and is read at every call, so that a test can change it:

   init N      nvmlInit answers N             count N     GPUs, 2 unless given
   mig 1       utilisation is not supported   lost I      GPU I is lost
   hang I      a call about GPU I answers once this line is gone
   slow N      every call about a GPU takes N milliseconds
   old 1       no memory of version 2         add N       is added to every value */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, FUNCTION_NOT_FOUND = 13, LOST = 15 };
#define GIB (1ull << 30)

typedef struct { int index; } Gpu;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;

static Gpu gpus[64];

static int setting(const char *wanted, int otherwise) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char word[32];
    int number, found = otherwise;
    while (file && fscanf(file, "%31s %d", word, &number) == 2)
        if (!strcmp(word, wanted)) found = number;
    if (file) fclose(file);
    return found;
}

static int ask(const Gpu *gpu) {
    usleep(1000 * setting("slow", 0));
    while (setting("hang", -1) == gpu->index) usleep(2000);
    return gpu->index == setting("lost", -1) ? LOST : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return setting("init", SUCCESS); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case NOT_SUPPORTED: return "Not Supported";
    case FUNCTION_NOT_FOUND: return "Function Not Found";
    case LOST: return "GPU is lost";
    case 9: return "Driver Not Loaded";
    default: return "Unknown Error";
    }
}

int nvmlDeviceGetCount_v2(unsigned *count) { *count = setting("count", 2); return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **gpu) {
    if ((int)index >= setting("count", 2)) return INVALID;
    gpus[index].index = index;
    *gpu = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetName(const Gpu *gpu, char *name, unsigned length) {
    int code = ask(gpu);
    if (!code) snprintf(name, length, "Fake GPU %d", gpu->index);
    return code;
}

int nvmlDeviceGetUUID(const Gpu *gpu, char *uuid, unsigned length) {
    int code = ask(gpu);
    if (!code) snprintf(uuid, length, "GPU-%08d", gpu->index);
    return code;
}

int nvmlDeviceGetUtilizationRates(const Gpu *gpu, Utilization *rates) {
    int code = ask(gpu);
    if (!code && setting("mig", 0)) return NOT_SUPPORTED;
    if (!code) *rates = (Utilization){40 + 10 * gpu->index + setting("add", 0), 20};
    return code;
}

int nvmlDeviceGetMemoryInfo(const Gpu *gpu, Memory *memory) {
    int code = ask(gpu);
    if (!code) *memory = (Memory){80 * GIB, 69 * GIB, 11 * GIB};
    return code;
}

int nvmlDeviceGetMemoryInfo_v2(const Gpu *gpu, MemoryV2 *memory) {
    unsigned long long used = (10 + gpu->index + setting("add", 0)) * GIB;
    int code = ask(gpu);
    if (!code && setting("old", 0)) return FUNCTION_NOT_FOUND;
    if (!code) *memory = (MemoryV2){memory->version, 80 * GIB, GIB, 79 * GIB - used, used};
    return code;
}

int nvmlDeviceGetTemperature(const Gpu *gpu, int sensor, unsigned *celsius) {
    int code = sensor ? INVALID : ask(gpu);
    if (!code) *celsius = 50 + gpu->index + setting("add", 0);
    return code;
}

int nvmlDeviceGetPowerUsage(const Gpu *gpu, unsigned *milliwatts) {
    int code = ask(gpu);
    if (!code) *milliwatts = 300500 + 1000 * (gpu->index + setting("add", 0));
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(const Gpu *gpu, unsigned *count, Process *processes) {
    int code = ask(gpu);
    unsigned room = *count;
    if (code || gpu->index > 0) { *count = 0; return code; }
    *count = 2;
    if (room < 2) return INSUFFICIENT_SIZE;
    processes[0] = (Process){1234, 3 * GIB, ~0u, ~0u};
    processes[1] = (Process){5678, ~0ull, ~0u, ~0u}; /* not known */
    return SUCCESS;
}

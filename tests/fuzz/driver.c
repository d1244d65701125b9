/* Runs a fuzz target over committed corpus files, and over seeded mutations of each, without libFuzzer:
 * what `./dev test` does with every target. Usage: fuzz_x DIR [SECONDS]. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t rng = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* An exact-sized heap copy, so that the sanitizer sees a read past the end. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t mutate(uint8_t *data, size_t size)
{
    unsigned edits = 1 + (unsigned)(next_random() % 4);
    for (unsigned i = 0; i < edits && size > 0; i++) {
        size_t at = (size_t)(next_random() % size);
        switch (next_random() % 4) {
        case 0: data[at] = (uint8_t)next_random(); break;
        case 1: data[at] ^= (uint8_t)(1u << (next_random() % 8)); break;
        case 2: size = at; break;
        default: data[at] = (next_random() & 1) ? 0xff : 0x00; break;
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : ".";
    double seconds = argc > 2 ? atof(argv[2]) : 2.0;
    unsigned files = 0;
    unsigned long runs = 0;
    struct {
        uint8_t *data;
        size_t size;
    } corpus[4096];
    DIR *d = opendir(dir);
    if (!d) {
        fprintf(stderr, "%s: no corpus directory; commit at least one seed\n", dir);
        return 1;
    }
    struct dirent *entry;
    while ((entry = readdir(d)) && files < 4096) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        FILE *f = fopen(path, "rb");
        if (!f)
            continue;
        uint8_t *data = malloc(1 << 20);
        if (!data)
            abort();
        corpus[files].size = fread(data, 1, 1 << 20, f);
        corpus[files].data = data;
        fclose(f);
        run_one(corpus[files].data, corpus[files].size);
        files++;
        runs++;
    }
    closedir(d);
    if (files == 0) {
        fprintf(stderr, "%s: the corpus is empty\n", dir);
        return 1;
    }
    run_one(NULL, 0);
    clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
    uint8_t *work = malloc(1 << 20);
    if (!work)
        abort();
    while (clock() < end) {
        unsigned pick = (unsigned)(next_random() % files);
        memcpy(work, corpus[pick].data, corpus[pick].size);
        run_one(work, mutate(work, corpus[pick].size));
        runs++;
    }
    printf("%u corpus files, %lu runs\n", files, runs);
    free(work);
    for (unsigned i = 0; i < files; i++)
        free(corpus[i].data);
    return 0;
}

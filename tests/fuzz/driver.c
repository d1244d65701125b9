/* Runs every file of the folders (or files) given through the fuzz target, each also truncated and with flipped bits, so that the
 * ordinary suite exercises the decoders without libFuzzer. Fails when there was nothing to run. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned inputs;

/* A copy of exactly the input's size, so that a read past its end is seen by ASan. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs++;
}

static void run_mutations(uint8_t *data, size_t size)
{
    uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
    run(data, size);
    for (unsigned i = 0; i < 200 && size; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t at = (size_t)(seed >> 33) % size;
        uint8_t was = data[at];
        data[at] ^= (uint8_t)(1u << (seed >> 29 & 7));
        run(data, size);
        data[at] = was;
        run(data, at);
    }
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    static uint8_t data[4u << 20];
    if (!f) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof(data), f);
    fclose(f);
    run_mutations(data, size);
    return 0;
}

static int run_path(const char *path)
{
    DIR *dir = opendir(path);
    int failed = 0;
    if (!dir)
        return run_file(path);
    for (struct dirent *e; (e = readdir(dir));) {
        char file[4096];
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            failed |= run_file(file);
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= run_path(argv[i]);
    printf("%u inputs\n", inputs);
    return failed || inputs == 0;
}

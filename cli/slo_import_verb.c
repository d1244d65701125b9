/* `telltale slo import FILE…`: OpenSLO documents of what was written for Sloth or Pyrra. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/file_in.h"
#include "cli/verbs.h"
#include "query/query_slo_import.h"

#define FILE_BYTES_MAX ((size_t)4 << 20)

static int usage(FILE *to)
{
    fprintf(to,
            "usage: telltale slo import FILE…\n\n"
            "Prints OpenSLO documents of objectives that were written for Sloth (prometheus/v1) "
            "or Pyrra (v1alpha1).\nExit: 0, or 1 with a line for each thing that could not be "
            "carried over; the rest is printed.\n");
    return to == stdout ? 0 : 2;
}

static int import(const char *path, bool is_first)
{
    struct buf text, out, errors;
    struct err_msg msg = {""};
    buf_init(&out, (size_t)16 << 20);
    buf_init(&errors, (size_t)1 << 20);
    enum err e = file_in_read(path, FILE_BYTES_MAX, &text, &msg);
    if (e != ERR_OK)
        fprintf(stderr, "telltale slo import: %s\n", msg.text);
    else
        e = query_slo_import(path, buf_bytes(&text), &out, &errors);
    if (out.size && !is_first)
        printf("---\n");
    fwrite(out.data, 1, out.size, stdout);
    fwrite(errors.data, 1, errors.size, stderr);
    buf_done(&text);
    buf_done(&out);
    buf_done(&errors);
    return e == ERR_OK ? 0 : 1;
}

int verbs_slo_import(int argc, char **argv)
{
    int rc = 0;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return usage(stdout);
    if (argc == 0)
        return usage(stderr);
    for (int i = 0; i < argc; i++)
        rc |= import(argv[i], i == 0);
    return rc;
}

/* Whole files: what is read is what is there; what cannot be read is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file_in.h"

static void write_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(fputc((int)(i * 31 & 255), f), (int)(i * 31 & 255));
    assert_int_equal(fclose(f), 0);
}

static void files_of_every_size_are_read_up_to_the_limit(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 1 << 20, (1 << 20) + 1, 3000000};
    char path[] = "/tmp/telltale-file-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct buf b;
        struct err_msg msg = {""};
        write_file(path, sizes[k]);
        assert_int_equal(file_in_read(path, sizes[k], &b, &msg), ERR_OK);
        assert_int_equal(b.size, sizes[k]);
        for (size_t i = 0; i < b.size; i++)
            assert_int_equal(b.data[i], i * 31 & 255);
        buf_done(&b);
        if (sizes[k]) {
            assert_int_equal(file_in_read(path, sizes[k] - 1, &b, &msg), ERR_TOO_LARGE);
            assert_non_null(strstr(msg.text, path));
            assert_int_equal(b.size, 0);
        }
    }
    assert_int_equal(unlink(path), 0);
}

static void what_is_no_file_is_named(void **state)
{
    struct buf b;
    struct err_msg msg = {""};
    assert_int_equal(file_in_read("/nowhere/at/all", 10, &b, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "/nowhere/at/all"));
    assert_int_equal(file_in_read("/tmp", 10, &b, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "/tmp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_every_size_are_read_up_to_the_limit),
        cmocka_unit_test(what_is_no_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

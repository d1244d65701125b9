#include "cli/key.h"

int key_main(int argc, char **argv)
{
    return 2;
}

/* The shipped model's bytes, linked into the program (detectors/ground_builtin.c finds them). TELLTALE_GROUND_MODEL is the file's path. */
    .section .rodata
    .global ground_builtin_begin
    .global ground_builtin_end
    .balign 64
ground_builtin_begin:
    .incbin TELLTALE_GROUND_MODEL
ground_builtin_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits

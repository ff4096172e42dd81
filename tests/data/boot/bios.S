# What a BIOS boots: prints the second block of its own file to port E9h, and ends QEMU with 33.
# Without emulation (El Torito 1.0, 2.2.5) the first block is loaded to 7C00h.
        .code16
        .globl  _start
_start: jmp     begin
        .org    8
        # The boot information table, which xorriso fills in; addresses are of blocks of 2048 bytes.
volume: .long   0
file:   .long   0
length: .long   0
sum:    .long   0
        .org    64
begin:  xorw    %ax, %ax
        movw    %ax, %ds
        movl    file, %eax
        incl    %eax
        movl    %eax, lba
        movw    $packet, %si
        movb    $0x42, %ah              # extended read, from the drive in DL
        int     $0x13
        jc      failed
        movw    $0x8000, %si
next:   lodsb
        testb   %al, %al
        jz      done
        outb    %al, $0xe9
        jmp     next
failed: movb    $0x11, %al
        jmp     exit
done:   movb    $0x10, %al
exit:   outb    %al, $0xf4              # isa-debug-exit: twice that and 1
halt:   hlt
        jmp     halt
packet: .byte   16, 0
        .word   1, 0x8000, 0            # one block, to 0000:8000
lba:    .quad   0
        .org    2048
        .asciz  "booted by a BIOS\n"
        .org    4096

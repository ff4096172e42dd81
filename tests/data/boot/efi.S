# What UEFI boots: a PE32+ image, headers and all. Prints to port E9h, and ends QEMU with 33.
        .code64
start:  .ascii  "MZ"
        .org    0x3c
        .long   pe - start
pe:     .ascii  "PE\0\0"
        .word   0x8664, 1               # x86-64, one section
        .long   0, 0, 0
        .word   section - optional
        .word   0x0202                  # executable, without debugging information
optional:
        .word   0x020b, 0               # PE32+
        .long   end - code, 0, 0
        .long   0x1000, 0x1000          # entry point, base of code
        .quad   0x400000
        .long   0x1000, 0x200           # alignment in memory and in the file
        .word   0, 0, 0, 0, 0, 0
        .long   0, 0x2000, 0x200, 0     # sizes of image and headers, checksum
        .word   10, 0                   # EFI application
        .quad   0, 0, 0, 0
        .long   0, 6
        .quad   0, 0, 0, 0, 0, 0        # no data directories
section:
        .ascii  ".text\0\0\0"
        .long   end - code, 0x1000, end - code, 0x200, 0, 0
        .word   0, 0
        .long   0x60000020              # code, to execute and read
        .org    0x200
code:   leaq    message(%rip), %rsi
next:   lodsb
        testb   %al, %al
        jz      done
        outb    %al, $0xe9
        jmp     next
done:   movb    $0x10, %al
        outb    %al, $0xf4              # isa-debug-exit: twice that and 1
halt:   hlt
        jmp     halt
message:
        .asciz  "booted by UEFI\n"
        .org    0x400
end:

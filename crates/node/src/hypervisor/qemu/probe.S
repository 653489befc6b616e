# The guest that tells whether an accelerator works: a boot sector that enters long mode with paging, as every kernel does, runs a
# million steps and reloads its page tables a few times, then leaves by QEMU's debug exit with 42 (so QEMU's exit code is 85).
# Its bytes are in accelerator.rs: as probe.S -o p.o && ld -Ttext 0x7c00 --oformat binary p.o -o p.bin
.code16
.globl _start
_start:
    cli
    xor %ax,%ax
    mov %ax,%ds
    mov %ax,%es
    mov %ax,%ss
    mov $0x7c00,%sp
    cld
    mov $0x1000,%di             # three page tables, the first 2 MiB mapped onto themselves
    xor %eax,%eax
    mov $0xc00,%cx
    rep stosl
    movl $0x2003,0x1000
    movl $0x3003,0x2000
    movl $0x83,0x3000
    mov %cr4,%eax
    or $0x20,%eax               # physical address extension
    mov %eax,%cr4
    mov $0x1000,%eax
    mov %eax,%cr3
    mov $0xc0000080,%ecx        # EFER
    rdmsr
    or $0x100,%eax              # long mode
    wrmsr
    lgdt gdtr
    mov %cr0,%eax
    or $0x80000001,%eax         # paging, protection
    mov %eax,%cr0
    ljmp $8,$long
.code64
long:
    mov $16,%ax
    mov %ax,%ss
    mov %ax,%ds
    mov $0x8000,%esp
    mov $1000000,%ebx
1:  push %rbx
    pop %rdx
    dec %ebx
    jnz 1b
    mov $200,%ebx
2:  mov %cr3,%rax
    mov %rax,%cr3
    dec %ebx
    jnz 2b
    mov $42,%al
    out %al,$0xf4
3:  hlt
    jmp 3b
.balign 8
gdt: .quad 0
    .quad 0x00af9a000000ffff
    .quad 0x00cf92000000ffff
gdtr: .word gdtr-gdt-1
    .long gdt
.org 510
    .word 0xaa55

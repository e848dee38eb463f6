/* A program without a library: its unwinding tables and one recording of it stand beside this file.
 * gcc -O2 -fomit-frame-pointer -nostdlib -static -no-pie -fasynchronous-unwind-tables -Wl,--build-id=sha1 \
 *     -Wl,-z,max-page-size=4096 -Wl,--eh-frame-hdr tiny.c -o tiny
 * TRIMTAB_RECORD=1 cargo test -p trimtab-flame --lib recorded   writes samples.bin anew. */
static volatile unsigned long sink;
__attribute__((noinline, noclone)) static void spin(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink = sink * 31 + i; __asm__ volatile(""); }
__attribute__((noinline, noclone)) static void inner(unsigned long n) { volatile char pad[100]; pad[n % 100] = 1; spin(n); sink += pad[n % 100]; __asm__ volatile(""); }
__attribute__((noinline, noclone)) static void outer(unsigned long n) { inner(n + 1); __asm__ volatile(""); }
__attribute__((noreturn, used)) void entry(void) { for (;;) outer(1000000); }
__attribute__((naked, used)) void _start(void) { __asm__ volatile(".cfi_undefined rip\n\tcall entry\n\thlt"); }

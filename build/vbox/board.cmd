# board.cmd: the virtual box's part of the boot script, between build/uboot's
# environment.cmd and boot.cmd. @BOOT@ is booti or bootz; @WATCHDOG@ its time in
# milliseconds and hexadecimal, for each of two stages, or 0 where there is none.

virtio dev 0
setenv addr_kernel 40400000
setenv addr_initrd 44000000

# The i6300esb, by hand since U-Boot has no driver: two stages, then a reset.
# It is locked: Linux can feed it, and not switch it off. It must be device 1, and
# the only one with memory on its PCI bus.
setenv wd_unlock 'mw.w 1000000c 80; mw.w 1000000c 86'
setenv wd_arm 'pci enum; if pci header 0.1.0; then pci write.w 0.1.0 60 0; run wd_unlock; mw.l 10000000 @WATCHDOG@; run wd_unlock; mw.l 10000004 @WATCHDOG@; pci write.b 0.1.0 68 3; echo "boot: watchdog armed"; fi'
setenv board_start 'if test @WATCHDOG@ != 0; then run wd_arm; fi'

# What is left out of the kernel's start costs an emulated processor much: the tests
# of its ciphers, clean pages, and page tables of its own for the kernel.
setenv slot_boot 'setenv bootargs console=ttyAMA0 panic=-1 oops=panic loglevel=4 cryptomgr.notests init_on_alloc=0 kpti=off otad.slot=${s} otad.canary=${otad_canary} ${box_args}; part number virtio 0 slot${s} p && load virtio 0:${p} ${addr_kernel} /boot/vmlinuz && load virtio 0:${p} ${addr_initrd} /boot/initrd.img && @BOOT@ ${addr_kernel} ${addr_initrd}:${filesize} ${fdtcontroladdr}'

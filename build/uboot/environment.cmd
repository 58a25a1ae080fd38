# environment.cmd: env_load and env_save for boot.cmd where U-Boot cannot save by
# itself to the place that otad and Linux use, here a partition called "env".
#
# The format is U-Boot's own redundant environment (CONFIG_SYS_REDUNDAND_ENVIRONMENT),
# two copies of 0x4000 bytes, one behind the other:
#
#   CRC-32 of the variables (4 bytes) | count of writes (1 byte) | variables
#
# so fw_printenv and otad read and write the same bytes. "env import -c" checks
# the CRC, but of a copy without the count: it is moved out of the way first.
# All numbers are hexadecimal. Needs: virtio (or another block device, see the two
# lines with "virtio"), part, setexpr, env import and export, cmp.

# Where to work in memory: the copies, what was read back, and a copy without count.
setenv e_a0 43e00000
setenv e_a1 43e10000
setenv e_rb 43e20000
setenv e_t 43e30000

# What is kept. A variable that is not named here is lost with the next save.
setenv e_names 'slot upgrade_available bootcount bootlimit otad_canary'

setenv e_read 'virtio read'
setenv e_write 'virtio write'

# e_check imports the copy at e_a; it fails when that is bad.
setenv e_check 'cp.b ${e_a} ${e_t} 4; setexpr e_x ${e_a} + 5; setexpr e_y ${e_t} + 4; cp.b ${e_x} ${e_y} 3ffb; env import -d -c ${e_t} 3fff ${e_names}'

# env_load imports the newer of the good copies, and sets what env_save needs:
# the copy that it goes over (e_n in memory, e_b on the disk), and the count.
# The count wraps: 00 follows ff. A copy that cannot be read is a bad one.
setenv env_load 'part start virtio 0 env e_b0; setexpr e_b1 ${e_b0} + 20; mw.b ${e_a0} 0 14000; setenv e_cur x; run e_load0; run e_load1; run e_newer; run e_place; test ${e_cur} != x'
setenv e_load0 'setenv e_f0 0; if ${e_read} ${e_a0} ${e_b0} 20; then setenv e_a ${e_a0}; if run e_check; then setenv e_cur 0; setexpr e_x ${e_a0} + 4; setexpr.b e_f0 *${e_x}; fi; fi'
setenv e_load1 'setenv e_f1 0; if ${e_read} ${e_a1} ${e_b1} 20; then setenv e_a ${e_a1}; if run e_check; then setexpr e_x ${e_a1} + 4; setexpr.b e_f1 *${e_x}; if test ${e_cur} = 0; then setenv e_cur both; else setenv e_cur 1; fi; fi; fi'
setenv e_newer 'if test ${e_cur} = both; then setexpr e_d ${e_f1} + 100; setexpr e_d ${e_d} - ${e_f0}; setexpr e_d ${e_d} % 100; setenv e_cur 1; if itest ${e_d} == 0 || itest ${e_d} >= 80; then setenv e_cur 0; setenv e_a ${e_a0}; run e_check; fi; fi'
setenv e_place 'if test ${e_cur} = 0; then setenv e_n ${e_a1}; setenv e_b ${e_b1}; setenv e_f ${e_f0}; else setenv e_n ${e_a0}; setenv e_b ${e_b0}; setenv e_f ${e_f1}; fi'

# env_save writes the variables over the older copy, and reads back what it wrote.
# It is done once a boot.
setenv env_save 'env export -c -s 3fff ${e_t} ${e_names} && setexpr e_f ${e_f} + 1 && setexpr e_f ${e_f} % 100 && setexpr e_x ${e_n} + 4 && mw.b ${e_x} ${e_f} 1 && cp.b ${e_t} ${e_n} 4 && setexpr e_x ${e_n} + 5 && setexpr e_y ${e_t} + 4 && cp.b ${e_y} ${e_x} 3ffb && ${e_write} ${e_n} ${e_b} 20 && ${e_read} ${e_rb} ${e_b} 20 && cmp.b ${e_n} ${e_rb} 4000'

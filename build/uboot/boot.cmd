# boot.cmd: chooses the slot that is started, and counts the tries of a new one.
# It is the other half of otad's driver "uboot" with style = "boot-count" and
# slot_variable = "slot"; docs/virtual-box.md says how to put it on a board.
#
# Promises:
#   - A slot on trial is started bootlimit times at most, then the other one for good.
#   - A try is counted before it is used. A count that cannot be saved is no try:
#     the permanent slot is started instead.
#   - Without an environment slot A is started, on trial, so that a slot A that is
#     of no use does not keep slot B from being tried. otad confirms what works.
#   - What cannot be loaded is never the end: the next try, or the other slot.
#
# A part of the board's own comes before this text and sets commands for `run`:
#   env_load     reads the environment; fails when there is none
#   env_save     saves it; fails unless it is on the medium
#   board_start  the last thing before a slot is started: arm the watchdog
#   slot_boot    starts slot ${s}; returns only when that cannot be loaded
# Where U-Boot's own environment is the one that otad writes, that is
#   setenv env_load true
#   setenv env_save saveenv
#
# Variables of the environment: slot (A or B), upgrade_available (1: slot is on
# trial), bootcount (tries used), bootlimit (tries allowed, at most 9), otad_canary
# (passed to the kernel as otad.canary, a proof that both sides use one environment).
# Written for the old hush shell (no functions), plain commands only. It is run
# as a script: mkimage -A arm -T script -C none -d boot.cmd boot.scr

if run env_load; then true; else echo "boot: no good environment"; fi

setenv lost 0
if test "${slot}" != A -a "${slot}" != B; then
  setenv lost 1
  setenv slot A
  setenv upgrade_available 1
  setenv bootcount 0
  setenv bootlimit 3
  setenv otad_canary lost
fi
if test -z "${bootcount}"; then setenv bootcount 0; fi
if test -z "${bootlimit}" -o "${bootlimit}" = 0; then setenv bootlimit 3; fi
if test ${slot} = A; then setenv other B; else setenv other A; fi

setenv s ${slot}
if test "${upgrade_available}" = 1; then
  setexpr bootcount ${bootcount} + 1
  if itest ${bootcount} > ${bootlimit}; then
    echo "boot: slot ${slot} has used up its ${bootlimit} tries, slot ${other} is permanent"
    setenv slot ${other}
    setenv s ${other}
    setenv upgrade_available 0
    setenv bootcount 0
    if run env_save; then true; else echo "boot: not saved, next time again"; fi
  else
    if run env_save; then
      echo "boot: slot ${slot} on trial, try ${bootcount} of ${bootlimit}"
    else
      if test ${lost} = 0; then
        echo "boot: the try cannot be counted, so it is not made"
        setenv s ${other}
      else
        echo "boot: the environment cannot be saved"
      fi
    fi
  fi
fi

echo "boot: starting slot ${s}"
run board_start
run slot_boot
echo "boot: slot ${s} cannot be loaded"
# On trial: the next try, and the other slot when they are used up.
if test "${upgrade_available}" = 1 -a ${lost} = 0; then reset; fi
if test ${s} = A; then setenv s B; else setenv s A; fi
echo "boot: starting slot ${s}"
run slot_boot
reset

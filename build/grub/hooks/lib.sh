# Shared by the hooks for GRUB: its environment, in two copies, as otad.cfg reads
# them. They need a POSIX shell, cmp and dd, as BusyBox has them.
#
# An environment block is 1024 bytes: a line that says what it is, a line for
# each variable, and '#' to the end. It is written over in place: GRUB does not
# replay the journal of a file system, so after a power cut it may not find a file
# that was replaced by rename. All that counts is kept in the first sector of 512
# bytes, which a medium writes as a whole or not at all. The first copy is the
# truth, the second one is for the day when the first one is damaged.
# shellcheck shell=sh
set -euf
LC_ALL=C
# shellcheck source=/dev/null
. "${0%/*}/settings"
IFS= read -r input || :

# member prints a member of the input; otad's slot names need no escapes.
member() {
	rest=${input#*\""$1"\":\"}
	[ "$rest" = "$input" ] || printf '%s' "${rest%%\"*}"
}

environment_error() { echo "$1" >&2; exit 4; }
no_fallback() { echo "no bootable slot to fall back to" >&2; exit 3; }

signature='# GRUB Environment Block'

# load reads a copy into the variables; it fails when that is no good one. GRUB
# judges it in the same way.
load() {
	default='' trying='' tries='' bad='' others='' line=''
	[ -f "$1" ] || return 1
	{
		IFS= read -r line || :
		[ "$line" = "$signature" ] || return 1
		while IFS= read -r line; do
			case $line in
			otad_default=*) default=${line#*=} ;;
			otad_trying=*) trying=${line#*=} ;;
			otad_tries=*) tries=${line#*=} ;;
			otad_bad=*) bad=${line#*=} ;;
			'#'* | '') ;;
			*) others="$others$line$newline" ;;
			esac
		done
	} <"$1"
	case $default in a | b) ;; *) return 1 ;; esac
	case $trying$tries in [ab][0-3]) ;; *) trying='' tries=0 ;; esac
}

newline='
'

# save writes both copies; when it returns, a power cut at the next instant
# does not undo it.
save() {
	block="$signature
otad_default=$default
otad_trying=$trying
otad_tries=$tries
otad_bad=$bad
$others"
	[ "${#block}" -le 512 ] || environment_error "the environment is longer than a sector: ${#block} bytes"
	while [ "${#block}" -lt 1024 ]; do block="$block#"; done
	write "$env1"
	write "$env2"
}

write() {
	if printf '%s' "$block" | cmp -s - "$1"; then return; fi
	printf '%s' "$block" | dd of="$1" bs=1024 count=1 conv=notrunc,fsync 2>/dev/null || environment_error "cannot write $1"
	printf '%s' "$block" | cmp -s - "$1" || environment_error "$1 does not hold what was written"
}

clear_bad() { [ "$bad" != "$1" ] || bad=; }

mark_bad() {
	bad=$1
	[ "$trying" != "$1" ] || { trying=; tries=0; }
}

# set_variable sets NAME to VALUE, or unsets it when the value is empty.
set_variable() {
	kept=
	while IFS= read -r line; do
		case $line in '' | "$1="*) ;; *) kept="$kept$line$newline" ;; esac
	done <<OTHERS
$others
OTHERS
	others=$kept
	[ -z "$2" ] || others="$others$1=$2$newline"
}

IFS= read -r id <"$boot_id"
IFS= read -r arguments <"$cmdline" || :
active='' lost=''
for argument in $arguments; do
	case $argument in
	otad.slot=[ab]) active=${argument#*=} ;;
	otad.env=lost) lost=1 ;;
	esac
done
[ -n "$active" ] || { echo "the kernel's command line has no otad.slot=" >&2; exit 1; }
if ! load "$env1" && ! load "$env2"; then
	# Only when GRUB found none either, what runs is what will run: begin anew.
	[ -n "$lost" ] || environment_error "neither $env1 nor $env2 is a good environment"
	default=$active trying='' tries=0 bad='' others=''
	save
fi

# Shared by the template hooks: a box in the directory above them, as the
# contract in docs/boards.md wants it. Replace what is here by your own tool.
#
#   slot-a.img slot-b.img   the slots
#   booted                  which slot runs, and the ID of this boot
#   env                     what the bootloader reads:
#                             default  the permanent choice
#                             trying   the armed slot, and its tries left
#                             bad      slots that must not be started
#                             #var     variables that artifacts set
# shellcheck shell=sh
set -eu
box=${0%/*/*}
input=$(cat)

# member prints a member of the input; otad's slot names need no escapes.
member() { printf '%s' "$input" | sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }

# shellcheck source=/dev/null
. "$box/env"
read -r active id <"$box/booted"
variables=$(sed -n '/^#var /p' "$box/env")

no_fallback() { echo "no bootable slot to fall back to" >&2; exit 3; }

is_bad() { case " $bad " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

clear_bad() {
	kept=
	for s in $bad; do [ "$s" = "$1" ] || kept="$kept $s"; done
	bad=$kept
}

mark_bad() {
	clear_bad "$1"
	bad="$bad $1"
	[ "$trying" != "$1" ] || { trying=; tries=0; }
}

# set_variable sets NAME to VALUE, or unsets it when the value is empty.
set_variable() {
	variables=$(printf '%s\n' "$variables" | sed "/^#var $1=/d")
	[ -z "$2" ] || variables=$(printf '%s\n#var %s=%s' "$variables" "$1" "$2")
}

# save replaces the environment as a whole; when it returns, a power cut at the
# next instant does not undo it.
save() {
	printf 'default=%s\ntrying=%s\ntries=%s\nbad="%s"\n' "$default" "$trying" "$tries" "$bad" >"$box/env.new"
	printf '%s\n' "$variables" >>"$box/env.new"
	sync "$box/env.new"
	mv "$box/env.new" "$box/env"
	sync "$box"
}

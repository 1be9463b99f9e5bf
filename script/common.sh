# shellcheck shell=bash
# Sourced by script/test and script/demo: a copy of the tree in a temporary
# folder, an ordinary user, a server that finds pg_freeze without installing it.

PG_CONFIG=${PG_CONFIG:-pg_config}
export PG_CONFIG

die() { echo "${0##*/}: $*" >&2; exit 1; }

# Goes on with the calling script ($1, from the top of the tree) in a copy of
# the tree, as an ordinary user.  Returns only there, with $work set.
in_a_copy()
{
	local script=$1
	shift
	if [ -n "${PG_FREEZE_COPY:-}" ]; then
		work=$PG_FREEZE_COPY
		trap clean_up EXIT
		trap 'exit 130' INT TERM HUP
		return
	fi

	script/setup
	PG_CONFIG=$(command -v "$PG_CONFIG")
	local -a become=()
	if [ "$(id -u)" = 0 ]; then
		become=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
		unset TMPDIR	# may be root's alone
	fi
	PG_FREEZE_COPY=$(mktemp -d "${TMPDIR:-/tmp}/pg_freeze.XXXXXX")
	tar --exclude=./.git --exclude='./tmp_*' --exclude='*.o' --exclude='*.bc' --exclude='*.so' -cf - . |
		tar -C "$PG_FREEZE_COPY" --no-same-owner -xf -
	[ "$(id -u)" != 0 ] || chown -R nobody "$PG_FREEZE_COPY"
	cd "$PG_FREEZE_COPY" || exit
	# nothing of the caller's settings may lead to a server that runs
	for v in $(compgen -e PG); do
		case $v in PG_CONFIG|PG_FREEZE_*) ;; *) unset "$v" ;; esac
	done
	export PG_FREEZE_COPY HOME=$PG_FREEZE_COPY LC_ALL=C.UTF-8
	exec "${become[@]}" bash "$script" "$@"
}

# Ends background jobs and the servers whose data lie in the copy, then removes
# the copy.
clean_up()
{
	local rc=$? job jobs
	trap '' INT TERM HUP
	jobs=$(jobs -p)
	for job in $jobs; do
		kill -- "-$job" 2>/dev/null || kill "$job" 2>/dev/null || :
	done
	wait
	# a TAP test stops its servers itself
	for job in $jobs; do
		timeout 30 bash -c "while kill -0 -- -$job 2>/dev/null; do sleep 0.1; done" || :
	done
	find "$work" -name postmaster.pid 2>/dev/null | while read -r pid; do
		"$bindir/pg_ctl" -D "${pid%/*}" -m immediate -s stop || :
	done || :
	cd /
	if [ $rc != 0 ] && [ -s "$work/server.log" ]; then
		echo "--- the end of the server's log" >&2
		tail -n 40 "$work/server.log" >&2
	fi
	if [ -n "${KEEP:-}" ]; then
		echo "kept: $work"
	else
		rm -rf "$work"
	fi
	exit $rc
}

# Builds, installs into $work/tmp_install and writes $work/found.conf, by which
# a server finds it there.
build()
{
	local share lib inst=$work/tmp_install
	bindir=$("$PG_CONFIG" --bindir)
	share=$("$PG_CONFIG" --sharedir)
	lib=$("$PG_CONFIG" --pkglibdir)
	make -s with_llvm=no all
	if grep -aq extension_control_path "$bindir/postgres"; then
		echo "extension_control_path = '$inst$share:\$system'" >found.conf
	elif grep -aq extension_destdir "$bindir/postgres"; then
		echo "extension_destdir = '$inst'" >found.conf
	elif [ "${lib#"${bindir%/bin}"}" != "$lib" ]; then
		# can't look elsewhere, but can be copied as a whole
		cp -a "${bindir%/bin}" server
		PG_CONFIG=$work/server/bin/pg_config
		bindir=$work/server/bin
		: >found.conf
		make -s with_llvm=no install
		export PATH=$bindir:$PATH		# where tests find the program
		return
	else
		die "this server can't load an extension from elsewhere: make install as root, then make installcheck"
	fi
	make -s with_llvm=no install DESTDIR="$inst"
	export PG_FREEZE_BINDIR=$inst$bindir	# where tests find the program, even if one is installed
	export PATH=$PG_FREEZE_BINDIR:$PATH
	echo "dynamic_library_path = '$inst$lib:\$libdir'" >>found.conf
}

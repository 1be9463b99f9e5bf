#!/bin/bash
#
# write_and_note.sh FOLDER CLIENT CONNECTION
#
# A client that commits the numbers 1, 2, 3, ... to app.numbers and notes in
# FOLDER/noted.CLIENT each whose commit was acknowledged, with the id that it
# got and, for every tenth, the large object that it made.  After an error
# (FOLDER/errors.CLIENT) it connects anew and goes on with the first number
# that was not acknowledged: had that been committed, it is there twice.
# Ends when FOLDER/stop is there, or FOLDER is gone.

folder=$1 client=$2 connection=$3
noted=$folder/noted.$client errors=$folder/errors.$client
: >>"$noted"

goes_on() { [ -d "$folder" ] && ! [ -e "$folder/stop" ]; }

# What is written in one transaction, from number $1 on, until nobody reads it.
transactions()
{
	local n=$1 text

	while goes_on; do
		case $((n % 10)) in
			0) text="BEGIN; SELECT lo_from_bytea(0, '$client/$n') AS lo \\gset
				INSERT INTO app.numbers (client, n, lo) VALUES ($client, $n, :lo) RETURNING id \\gset
				COMMIT; \\echo $n :id :lo" ;;
			[1-4]) text="BEGIN; INSERT INTO app.numbers (client, n) VALUES ($client, $n) RETURNING id \\gset
				SELECT FROM pg_sleep(0.004) \\gset
				COMMIT; \\echo $n :id" ;;
			*) text="INSERT INTO app.numbers (client, n) VALUES ($client, $n) RETURNING id \\gset
				\\echo $n :id
				SELECT FROM pg_sleep(0.004) \\gset" ;;
		esac
		echo "$text" || return	# SIGPIPE may be ignored
		n=$((n + 1))
	done
}

while goes_on; do
	last=$(tail -n 1 "$noted")
	transactions $((${last%% *} + 1)) 2>/dev/null |
		psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=verbose "$connection" >>"$noted" 2>>"$errors"
	sleep 0.1	# no busy loop while nobody takes it
done

#!/bin/sh
# Run the examples named by their source files under $HEAPWITNESS; status 0 when a bug was found in each.
# Status 99 is that of a program in which heapwitness found something.

missed=
for source in "$@"; do
    case $source in
    *.py) command="${PYTHON:-python3} ./$source" ;;
    *) command="./build/${source%.*}" ;;
    esac

    printf '\n==== %s ====\n' "$source"
    # The opening comment ends with the first empty line.
    sed -e '/^$/q' -e 's,^/\* ,,' -e 's,^// ,,' -e 's,^   ,,' -e 's, \*/$,,' -e 's,""",,g' "$source"
    printf '$ heapwitness run -- %s\n' "$command"
    $HEAPWITNESS run -- $command
    status=$?
    [ $status -eq 99 ] || missed="$missed $source(status $status)"
done

if [ -n "$missed" ]; then
    printf '\nnot found:%s\n' "$missed" >&2
    exit 1
fi
printf '\nEach of the %d bugs was found.\n' "$#"

#!/bin/sh
# The load that `recorded.jsonl` was recorded under: compiling, asking for packages, serving files over HTTP,
# searching, archiving, short shell pipelines. Runs until it is told to stop.
set -u
folder=$(mktemp -d)
port=18231
mkdir "$folder/site" "$folder/build"
printf 'hello\n' > "$folder/site/index.html"
python3 -m http.server --directory "$folder/site" --bind 127.0.0.1 "$port" > /dev/null 2>&1 &
server=$!
trap 'kill "$server"; rm -rf "$folder"; exit 0' INT TERM
cd "$folder/build" || exit 1
while :; do
    for unit in a b c; do
        printf '#include <stdio.h>\n#include <stdlib.h>\nint %s(void) { return puts("x"); }\n' "$unit" > "$unit.c"
        cc -O1 -c "$unit.c"
    done
    ar rcs lib.a a.o b.o c.o
    dpkg -s libc6 > /dev/null
    dpkg -L coreutils > /dev/null
    apt-cache policy gcc > /dev/null 2>&1
    for _ in 1 2 3 4 5 6 7 8; do
        python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:18231/").read()'
    done
    find /usr/share/doc -maxdepth 2 -name 'copyright' > /dev/null
    tar cf all.tar ./*.c ./*.o && gzip -f all.tar
    ps -ef | grep -c sh > /dev/null
    ln -sf a.c link.c
    cat /etc/passwd | sort | head -3 > users.txt
    id > /dev/null
done

# Run mnistjobs on the head of a Ray cluster, with the Python that Ray itself runs with: sh on_head.sh WORD...
#
# Ray starts a job with the PATH of its own processes, which need not have that Python. In this order:
# MNISTJOBS_PYTHON; a python on PATH that imports ray; the one that the raylet above this process starts workers with.

imports_ray() { "$1" -P -c 'import ray' >/dev/null 2>&1; }

python_of_raylet() {
    pid=$PPID
    for _ in 1 2 3 4 5; do
        case $(readlink "/proc/$pid/exe") in
        */raylet)
            tr '\0' '\n' <"/proc/$pid/cmdline" |
                sed -n -e 's/^--python_worker_command="\([^"]*\)".*/\1/p' -e 's/^--python_worker_command=\([^" ]*\).*/\1/p'
            return
            ;;
        esac
        pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
    done
}

if [ -n "$MNISTJOBS_PYTHON" ]; then
    exec "$MNISTJOBS_PYTHON" -P -m mnistjobs "$@"
fi
for python in python python3 "$(python_of_raylet)"; do
    if imports_ray "$python"; then
        exec "$python" -P -m mnistjobs "$@"
    fi
done
echo "mnistjobs: no Python 3.11 or newer on this head imports ray; set MNISTJOBS_PYTHON to one where you submit" >&2
exit 2

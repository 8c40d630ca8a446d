# My Slurm cluster: a profile, with memory, time and GPUs of every job.
python -c "
import yaml
profile = yaml.safe_load(open('profiles/slurm/config.yaml'))
assert profile['executor'] == 'slurm'"
snakemake -n --forceall --config suite=smoke only=smoke_letters/erm/0 2>&1 | grep -E 'resources: .*mem_mb=[0-9]+' | grep -q runtime=

"""The description of the machine."""

from pathlib import Path

from reprood.core.machine import describe_machine, processor_name


def test_description_names_no_host_and_no_user() -> None:
    import getpass
    import platform

    machine = describe_machine()
    assert set(machine) == {"system", "processor", "cores"}
    assert int(machine["cores"]) >= 1
    assert machine["system"] == f"{platform.system()} {platform.machine()}"
    assert platform.node() not in machine.values()
    assert getpass.getuser() not in machine.values()


def test_processor_as_linux_reports_it(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: A processor: fast\nprocessor\t: 1\nmodel name\t: Another\n")
    assert processor_name(cpuinfo) == "A processor: fast"

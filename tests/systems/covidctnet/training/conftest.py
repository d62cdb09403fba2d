from tests.little_work import little_work, patients_work

__all__ = ["little_work", "patients_work"]

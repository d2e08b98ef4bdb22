"""What the findings say of small models that really ran."""

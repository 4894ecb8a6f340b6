"""Tables of the warehouse that are not datasets: employees and weather forecasts."""

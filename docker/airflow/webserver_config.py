"""The login of people to Airflow: users and roles are in Airflow's own database."""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
